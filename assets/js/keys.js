/* The keyboard on a figure: arrows move over cells or points (Shift: ten at a time), Enter selects, Escape lets go. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const HOVER_DELAY = 120; // Plotly draws hover text at most every 50 ms
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

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
      if (step) this.move(step.map((s) => (event.shiftKey ? 10 * s : s)));
      else if (event.key === "Home") this.go(0, 0);
      else if (event.key === "Enter" || event.key === " ") this.choose();
      else if (event.key === "Escape") this.leave();
      else return;
      event.preventDefault();
    }

    move([down, right]) {
      if (!this.at) this.go(0, 0);
      else this.go(this.at[0] + down, this.at[1] + right, Math.sign(down), Math.sign(right));
    }

    /* Go to a row and column, on past blank cells; stay where there is nothing further on. */
    go(row, column, down = 0, right = 1) {
      const rows = grid(this.panel);
      if (!rows.length) return;
      const limit = (at, count) => Math.max(0, Math.min(at, count - 1));
      row = limit(row, rows.length);
      column = limit(column, rows[row].length);
      while (rows[row]?.[column]?.blank) [row, column] = [row + down, column + right];
      const point = rows[row]?.[column];
      if (!point) return;
      this.at = [row, column];
      this.show(point);
    }

    show(point) {
      const { plot, marks, tools } = this.panel;
      this.point = point;
      marks.cursor = point.box?.();
      Plotly.Fx.hover(plot, point.hover, point.subplot);
      MergeScope.bus.mark(this.panel.address(point.event));
      marks.paint();
      clearTimeout(this.saying);
      this.saying = setTimeout(() => tools.say(spoken(plot)), HOVER_DELAY);
    }

    choose() {
      if (!this.at) this.go(0, 0);
      if (this.point) this.panel.select(this.point.event);
    }

    leave() {
      if (!this.at) return;
      this.at = this.point = this.panel.marks.cursor = null;
      if (this.panel.plot._fullLayout) Plotly.Fx.unhover(this.panel.plot);
      MergeScope.bus.mark(null);
      this.panel.marks.paint();
    }
  }

  /* The hover text, line by line, for a screen reader. */
  function spoken(plot) {
    const lines = [...plot.querySelectorAll(".hoverlayer tspan.line")].map((line) => line.textContent);
    return lines.length ? lines.join("; ") : plot.querySelector(".hoverlayer")?.textContent || "";
  }

  /* Rows of points as the eye sees them: cells of the heat map, points along lines, or dots across traces. */
  function grid({ plot, source }) {
    const traces = (plot._fullData || []).filter((t) => t.visible === true && !source.data[t.index]?.meta?.scale);
    const heat = traces.find((trace) => trace.type === "heatmap");
    if (heat) return cells(plot, heat);
    const answering = traces.filter((trace) => trace.hoverinfo !== "skip" && trace.x?.length);
    const lines = answering.filter((trace) => trace.mode?.includes("lines"));
    if (lines.length) return lines.map((trace) => points(trace));
    const dots = answering.map((trace) => points(trace));
    return Array.from({ length: Math.max(0, ...dots.map((d) => d.length)) }, (_, i) => dots.map((d) => d[i] || { blank: true }));
  }

  function points(trace) {
    return Array.from(trace.x, (x, i) => ({
      event: { x, y: trace.y[i], curveNumber: trace.index, pointNumber: i },
      hover: [{ curveNumber: trace.index, pointNumber: i }],
    }));
  }

  function cells(plot, trace) {
    const { z } = plot.calcdata[trace.index][0];
    const [xaxis, yaxis] = [trace.xaxis, trace.yaxis].map((id) => plot._fullLayout[`${id[0]}axis${id.slice(1)}`]);
    const rows = yaxis._categories.map((y, i) =>
      xaxis._categories.map((x, j) => {
        const value = z[i]?.[j];
        return {
          event: { x, y, z: value, curveNumber: trace.index, pointNumber: [i, j] },
          box: () => ({ x: MergeScope.span(xaxis, x), y: MergeScope.span(yaxis, y) }),
          blank: !Number.isFinite(value),
          hover: { xval: j, yval: i },
          subplot: trace.xaxis + trace.yaxis,
        };
      }),
    );
    return yaxis.range[0] > yaxis.range[1] ? rows : rows.reverse();
  }

  MergeScope.Keys = Keys;
})();
