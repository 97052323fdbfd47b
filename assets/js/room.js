/* Room for the labels of axes, made before a figure is drawn: where it is missing, Plotly draws the axes a second time. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const NUMBER = "−00"; // stands for numbers that Plotly will write
  const CAPITAL = 0.7; // height of capitals per size of letters, which is what Plotly gives a title
  const LINE = 1.3;
  const SLANT = (35 * Math.PI) / 180; // the angle between lying and standing labels
  const PAD = 12; // pixels beside labels; Plotly leaves so many, or fewer where another margin is smaller
  const ink = document.createElement("canvas").getContext("2d");

  /* Widen the margins of a figure of some width, in place, where labels that Plotly may widen them for need more. */
  function room({ data, layout }, width) {
    const axes = Object.entries(layout).filter(([name, axis]) => /^[xy]axis/.test(name) && axis.automargin);
    const [left, top] = ["y", "x"].map((letter) => axes.filter(([name]) => name.startsWith(letter)).map(([, axis]) => axis));
    for (const axis of left) layout.margin.l = Math.max(layout.margin.l, Math.ceil(beside(axis, data, layout)));
    for (const axis of top) if (axis.side === "top" && axis.range) above(axis, data, layout, width);
  }

  /* Pixels to the left of a plot that the labels and the title of an axis take. */
  function beside(axis, data, layout) {
    return widest(axis, data, layout) + axis.ticklabelstandoff + titled(axis) + pad(layout);
  }

  /* Turn the labels on top of a plot where they do not fit side by side, and make room for them. */
  function above(axis, data, layout, width) {
    const { margin } = layout;
    const size = axis.tickfont.size;
    const long = widest(axis, data, layout);
    const apart = ((width - margin.l - margin.r) * step(axis)) / Math.abs(axis.range[1] - axis.range[0]);
    if (axis.autotickangles) {
      axis.tickangle = long + axis.ticklabelstandoff < apart ? 0 : apart * Math.sin(SLANT) > LINE * size ? -35 : -90;
      delete axis.autotickangles;
    }
    const turned = (-(axis.tickangle || 0) * Math.PI) / 180;
    const [up, right] = [Math.sin(turned), Math.cos(turned)];
    const high = long * up + LINE * size * right + axis.ticklabelstandoff + titled(axis) + pad(layout);
    margin.t = Math.max(margin.t, Math.ceil(high));
    if (up) margin.r = Math.max(margin.r, Math.ceil(long * right + size * up - apart / 2 + pad(layout)));
  }

  const titled = ({ title }) => (title?.text ? CAPITAL * title.font.size + title.standoff : 0);
  const pad = ({ margin }) => Math.min(PAD, margin.r, margin.t, margin.b) + 1; // and one for rounding

  /* The distance between two labels, in units of the axis. */
  const step = ({ tickvals }) => (tickvals?.length > 1 ? Math.abs(tickvals[1] - tickvals[0]) : 1);

  function widest(axis, data, layout) {
    const font = `${axis.tickfont.size}px ${layout.font.family}`;
    const wide = (word) => {
      ink.font = word.includes("<b>") ? `bold ${font}` : font;
      return ink.measureText(word.replace(/<[^>]+>/g, "")).width;
    };
    return Math.max(...words(axis, data).map((word) => wide(String(word))));
  }

  function words(axis, data) {
    if (axis.ticktext?.length) return axis.ticktext;
    if (axis.type !== "category") return [NUMBER];
    return axis.categoryarray ?? data[0]?.y ?? [NUMBER];
  }

  MergeScope.room = room;
})();
