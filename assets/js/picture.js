/* The figure of a panel as a file: always light, in fonts that every machine and journal has, under its heading. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const FONT = "Helvetica, Arial, sans-serif";
  const LEAST = 640; // pixels across; a phone saves the figure of a wider page
  const SIZE = 16, CAPITAL = 12, LINE = 21, EDGE = 12; // pixels of the heading: font, its capitals, line, margin

  /* Return the address of the picture of a panel, `format` being "png" or "svg". */
  MergeScope.picture = async (panel, format) => {
    const paper = sheet(panel.plot);
    try {
      const width = Math.max(panel.width, LEAST);
      const { data, layout } = panel.composed(width, paper);
      if (panel.zoomed) for (const axis of ["xaxis", "yaxis"]) keep(layout, panel.plot._fullLayout, axis);
      const lines = broken(panel.meta.title || panel.props.title || "", width - 2 * EDGE);
      const room = LINE * lines.length + EDGE;
      layout.margin = { ...layout.margin, t: (layout.margin?.t || 0) + room };
      layout.height += room;
      layout.title = { text: lines.map(escaped).join("<br>"), font: { size: SIZE }, xref: "container", yref: "container", x: 0,
        y: 1 - (EDGE + CAPITAL) / layout.height, xanchor: "left", yanchor: "bottom", pad: { l: EDGE } };
      return await Plotly.toImage({ data, layout }, { format, width, height: layout.height, scale: format === "png" ? 2 : 1 });
    } finally {
      paper.remove();
    }
  };

  /* An unseen light sheet that colours and fonts are read from. */
  function sheet(plot) {
    const node = Object.assign(document.createElement("span"), { className: "ms-light", hidden: true });
    node.style.fontFamily = FONT;
    plot.after(node);
    return node;
  }

  function keep(layout, full, axis) {
    if (layout[axis] && full?.[axis]?.range) layout[axis] = { ...layout[axis], range: [...full[axis].range], autorange: false };
  }

  /* Return a heading in lines that fit. */
  function broken(text, width) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `${SIZE}px ${FONT}`;
    const lines = [];
    for (const word of text.split(" ")) {
      const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
      if (lines.length && pen.measureText(longer).width <= width) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines;
  }

  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
})();
