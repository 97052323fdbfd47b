/* The figure of a panel as a file: always light, in fonts that every machine and journal has, under its heading. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const FONT = "Helvetica, Arial, sans-serif";
  const LEAST = 640; // pixels across; a phone saves the figure of a wider page
  const GREY = "rgb(68, 68, 68)";
  const SHARP = 2; // pixels of a PNG per pixel of the page
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
      const drawn = await Plotly.toImage({ data, layout }, { format: "svg", width, height: layout.height, imageDataOnly: true });
      const vector = "data:image/svg+xml," + encodeURIComponent(inked(drawn, MergeScope.resolve("var(--ms-on-light)", paper)));
      return format === "svg" ? vector : await painted(vector, width, layout.height);
    } finally {
      paper.remove();
    }
  };

  /* Plotly writes on light cells in a grey that is hard to read on teal; on the page a rule of panel.css says the same. */
  function inked(svg, ink) {
    const sheet = new DOMParser().parseFromString(svg, "image/svg+xml");
    for (const text of sheet.querySelectorAll(".heatmap-label text")) if (text.style.fill === GREY) text.style.fill = ink;
    return new XMLSerializer().serializeToString(sheet);
  }

  async function painted(vector, width, height) {
    const drawing = Object.assign(new Image(), { src: vector });
    await drawing.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: SHARP * width, height: SHARP * height });
    canvas.getContext("2d").drawImage(drawing, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  }

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
