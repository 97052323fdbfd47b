/* The keyboard on a figure: arrows move over cells or points, Enter selects, Escape lets go. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  class Keys {
    constructor(panel) {
      this.panel = panel;
      this.at = null;
      panel.plot.addEventListener("keydown", (event) => this.press(event));
      panel.plot.addEventListener("blur", () => this.leave());
    }

    press(event) {
      if (event.target !== this.panel.plot || event.altKey || event.ctrlKey || event.metaKey) return;
      const step = STEPS[event.key];
      if (step) this.move(step);
      else if (event.key === "Home") this.go(0, 0);
      else if (event.key === "Enter" || event.key === " ") this.choose();
      else if (event.key === "Escape") return this.leave();
      else return;
      event.preventDefault();
    }

    /* Rows of points as the eye sees them: cells of the heat map, otherwise points by trace. */
    grid() {
      const { plot, source } = this.panel;
      const heat = (plot._fullData || []).findIndex((t) => t.type === "heatmap" && !source.data[t.index]?.meta?.scale);
      return heat >= 0 ? cells(plot, heat) : points(plot);
    }

    move([dx, dy]) {
      const rows = this.grid();
      if (!rows.length) return;
      if (!this.at) return this.go(0, 0, rows);
      const [row, column] = this.at;
      this.go(row + dy, column + dx, rows, Math.sign(dx));
    }

    go(row, column, rows = this.grid(), skip = 1) {
      if (!rows.length) return;
      row = Math.max(0, Math.min(row, rows.length - 1));
      const line = rows[row];
      column = Math.max(0, Math.min(column, line.length - 1));
      while (line[column]?.gap && line[column + skip]) column += skip;
      this.at = [row, column];
      this.show(line[column]);
    }

    show(point) {
      const { plot, marks, tools } = this.panel;
      this.point = point;
      marks.cursor = point.box && point.box();
      Plotly.Fx.hover(plot, point.hover, point.subplot);
      MergeScope.bus.mark(this.panel.address(point.event), this.panel);
      tools.say(point.words || (plot.querySelector(".hoverlayer")?.textContent ?? ""));
    }

    choose() {
      if (!this.at) this.go(0, 0);
      if (this.point) this.panel.select(this.point.event);
    }

    leave() {
      if (!this.at) return;
      this.at = this.point = this.panel.marks.cursor = null;
      if (this.panel.plot._fullLayout) Plotly.Fx.unhover(this.panel.plot);
      MergeScope.bus.mark(null, this.panel);
    }
  }

  function cells(plot, curve) {
    const full = plot._fullData[curve];
    const { z } = plot.calcdata[curve][0];
    const [xaxis, yaxis] = [full.xaxis, full.yaxis].map((id) => plot._fullLayout[`${id[0]}axis${id.slice(1)}`]);
    const name = (axis, values, i) => (axis.type === "category" ? axis._categories[i] : values?.[i] ?? i);
    const rows = z.map((line, i) =>
      line.map((value, j) => {
        const x = name(xaxis, full._x || full.x, j);
        const y = name(yaxis, full._y || full.y, i);
        const event = { x, y, z: value, curveNumber: full.index, pointNumber: [i, j] };
        const at = (axis, v) => (axis.type === "category" ? axis.d2l_noadd(v) : Number(v));
        const box = () => ({ x: span(xaxis, at(xaxis, x)), y: span(yaxis, at(yaxis, y)) });
        return { event, box, gap: value === undefined || value === null || Number.isNaN(value),
          hover: { xval: at(xaxis, x), yval: at(yaxis, y) }, subplot: full.xaxis + full.yaxis };
      }),
    );
    const reversed = yaxis.range[0] > yaxis.range[1];
    return reversed ? rows : rows.reverse();
  }

  function span(axis, at) {
    const ends = [axis.c2p(at - 0.5), axis.c2p(at + 0.5)].sort((a, b) => a - b);
    return [axis._offset + ends[0], ends[1] - ends[0]];
  }

  /* One row per trace that answers to the mouse, its points in order of the other direction. */
  function points(plot) {
    return plot._fullData
      .filter((full) => full.type === "scatter" && full.hoverinfo !== "skip" && full.visible === true && full.x?.length)
      .map((full) =>
        Array.from(full.x, (x, i) => ({
          event: { x, y: full.y[i], curveNumber: full.index, pointNumber: i },
          hover: [{ curveNumber: full.index, pointNumber: i }],
        })),
      );
  }

  MergeScope.Keys = Keys;
})();
