/* Cross-highlighting inside the browser: one bus, and in every panel an overlay that marks the same thing.

   An address says what a cell, line or dot is about, e.g. {block: 3, kind: "q", expert: "digits", other: "emoji"}. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const PAIR = { expert: "other", other: "expert" };

  const bus = {
    marked: null,
    selected: null,
    mark(address, from) {
      this.marked = address;
      send(from);
    },
    select(address, from) {
      const { block, kind } = address;
      if (block === undefined && kind === undefined) return;
      this.selected = { block, kind };
      send(from);
    },
  };
  const send = (from) => document.dispatchEvent(new CustomEvent("mergescope:mark", { detail: { from } }));

  /* True when `part` (of an axis or trace) belongs to `whole`; unknown keys do not separate them. */
  function matches(part, whole) {
    let common = 0;
    for (const [key, value] of Object.entries(part || {})) {
      const wanted = whole[key] ?? (PAIR[key] && whole[PAIR[key]]);
      if (wanted === undefined) continue;
      if (wanted !== value && !(PAIR[key] && part[PAIR[key]] === undefined && whole[PAIR[key]] === value)) return false;
      common += 1;
    }
    return common > 0;
  }

  class Marks {
    constructor(panel) {
      this.panel = panel;
      this.layer = document.createElement("div");
      this.layer.className = "ms-marks";
      this.listen = () => this.paint();
      document.addEventListener("mergescope:mark", this.listen);
    }

    stop() {
      document.removeEventListener("mergescope:mark", this.listen);
    }

    /* Rectangle of the places on x and y that belong to an address, in pixels of the plot; null when none do. */
    boxes(address) {
      const { plot, meta } = this.panel;
      const layout = plot._fullLayout;
      if (!address || !meta.axes || !layout?.xaxis) return [];
      const spans = { x: [null], y: [null] };
      let found = 0;
      for (const name of ["x", "y"]) {
        const places = (meta.axes[name] || []).filter(([, part]) => matches(part, address));
        if (!places.length) continue;
        found += 1;
        spans[name] = places.map(([place]) => span(layout[`${name}axis`], place));
      }
      if (!found) return [];
      const { xaxis, yaxis } = layout;
      const all = { x: [xaxis._offset, xaxis._length], y: [yaxis._offset, yaxis._length] };
      const cell = found === 2 || meta.axes.x === undefined || meta.axes.y === undefined;
      return spans.x.flatMap((x) => spans.y.map((y) => ({ x: x || all.x, y: y || all.y, soft: !(cell && x && y) })));
    }

    paint() {
      const { plot } = this.panel;
      if (!plot._fullLayout || plot.hidden) return;
      if (!this.layer.isConnected) plot.append(this.layer);
      const rectangles = [
        ...this.boxes(bus.selected).map((box) => draw(box, "ms-chosen")),
        ...this.boxes(bus.marked).map((box) => draw(box, "ms-mark")),
        ...(this.cursor ? [draw(this.cursor, "ms-cursor")] : []),
      ];
      this.layer.replaceChildren(...rectangles);
      this.fade();
    }

    /* Fade the lines that are not about the marked expert. */
    fade() {
      const { plot, source } = this.panel;
      const about = (trace) => trace.meta?.expert !== undefined;
      const active = bus.marked && source.data.some((t) => about(t) && matches({ expert: t.meta.expert }, bus.marked));
      (plot._fullData || []).forEach((full, i) => {
        const trace = source.data[full.index ?? i] || {};
        const faded = active && about(trace) && !matches({ expert: trace.meta.expert }, bus.marked);
        plot.querySelectorAll(`.trace${full.uid}`).forEach((node) => (node.style.opacity = faded ? 0.15 : ""));
      });
    }
  }

  /* Offset and length in pixels of one category, or of the unit around a number. */
  function span(axis, place) {
    const at = axis.type === "category" ? axis.d2l_noadd(place) : Number(place);
    const ends = [axis.c2p(at - 0.5), axis.c2p(at + 0.5)].sort((a, b) => a - b);
    return [axis._offset + ends[0], ends[1] - ends[0]];
  }

  function draw({ x, y, soft }, name) {
    const node = document.createElement("div");
    node.className = soft ? `${name} ms-soft` : name;
    Object.assign(node.style, { left: `${x[0]}px`, width: `${x[1]}px`, top: `${y[0]}px`, height: `${y[1]}px` });
    return node;
  }

  Object.assign(MergeScope, { bus, Marks, matches });
})();
