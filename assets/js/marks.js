/* Cross-highlighting inside the browser: one bus, and in every panel an overlay that marks the same thing.

   An address says what a cell, line or dot is about, e.g. {block: 3, kind: "q", expert: "digits", other: "emoji"}. */
(() => {
  const MergeScope = (window.MergeScope ||= {});

  const bus = {
    marked: null,
    selected: {},
    mark(address) {
      if (!address && !this.marked) return;
      this.marked = address;
      send();
    },
    /* A place (block, kind) stays until another is chosen; an expert, task or pair goes when it is chosen again. */
    select({ block, kind, expert, other, task }) {
      const now = this.selected;
      const place = block === undefined && kind === undefined ? { block: now.block, kind: now.kind } : { block, kind };
      const [kept, pair] = [{ expert: now.expert, other: now.other, task: now.task }, { expert, other, task }];
      const again = Object.keys(pair).every((key) => pair[key] === kept[key]);
      const none = expert === undefined && task === undefined;
      this.selected = { ...place, ...(none ? kept : again ? {} : pair) };
      send();
    },
    place({ block, kind }) {
      if (block === this.selected.block && kind === this.selected.kind) return;
      this.selected = { ...this.selected, block, kind };
      send();
    },
  };
  const send = () => document.dispatchEvent(new CustomEvent("mergescope:mark"));

  /* True when every key that both have is equal, and there is one. */
  function matches(part, whole) {
    const common = Object.keys(part).filter((key) => whole[key] !== undefined);
    return common.length > 0 && common.every((key) => part[key] === whole[key]);
  }

  /* The addresses to look for: a pair either way round, an expert as row and as column. */
  function variants(address, roles) {
    const { expert, other, ...place } = address;
    if (expert === undefined) return [address];
    if (!roles.has("other")) return other === undefined ? [address] : [{ ...place, expert }, { ...place, expert: other }];
    return other === undefined ? [{ expert }, { other: expert }] : [{ expert, other }, { expert: other, other: expert }];
  }

  class Marks {
    constructor(panel) {
      this.panel = panel;
      this.layer = Object.assign(document.createElement("div"), { className: "ms-marks" });
      this.listen = () => this.paint();
      document.addEventListener("mergescope:mark", this.listen);
    }

    stop() {
      document.removeEventListener("mergescope:mark", this.listen);
    }

    /* Rectangles of what an address is about, in pixels of the plot; soft where only one of two axes is named. */
    boxes(address) {
      const { plot, meta } = this.panel;
      if (!address || !meta.axes) return [];
      const { xaxis, yaxis } = plot._fullLayout;
      const { x = [], y = [] } = meta.axes;
      const roles = new Set([...x, ...y].flatMap(([, part]) => Object.keys(part)));
      const both = x.length > 0 && y.length > 0;
      const edge = plot._fullData.some((trace) => trace.type === "heatmap");
      const find = (places, axis, wanted) =>
        places.filter(([, part]) => matches(part, wanted)).map(([place]) => span(axis, place));
      return variants(address, roles).flatMap((wanted) => {
        const across = find(x, xaxis, wanted);
        const down = find(y, yaxis, wanted);
        if (!across.length && !down.length) return [];
        const soft = !both || !across.length || !down.length;
        const xs = across.length ? across : [[xaxis._offset, xaxis._length]];
        const ys = down.length ? down : [[yaxis._offset, yaxis._length]];
        return xs.flatMap((left) => ys.map((top) => ({ x: left, y: top, soft, edge })));
      });
    }

    paint() {
      const { plot } = this.panel;
      if (!plot._fullLayout?.xaxis || plot.hidden || MergeScope.turns.waits(this.panel)) return;
      if (!this.layer.isConnected) plot.append(this.layer);
      this.layer.replaceChildren(
        ...this.boxes(MergeScope.bus.selected).map((box) => rectangle(box, "ms-chosen")),
        ...this.boxes(MergeScope.bus.marked).map((box) => rectangle(box, "ms-mark")),
        ...(this.cursor ? [rectangle(this.cursor, "ms-cursor")] : []),
      );
      this.fade();
    }

    /* Fade the lines and points, and their names, that are about another expert or task. */
    fade() {
      const { plot, source } = this.panel;
      const { expert, other, task } = MergeScope.bus.marked || {};
      const experts = (meta) => (meta?.points || [meta || {}]).map((about) => about.expert ?? about.task);
      const known = new Set(source.data.flatMap((trace) => experts(trace.meta)));
      const wanted = new Set([expert, other, task].filter((name) => name && known.has(name)));
      const shade = (node, name) => {
        if (node && name) node.style.opacity = wanted.size > 0 && !wanted.has(name) ? 0.15 : "";
      };
      for (const { index, uid } of plot._fullData || []) {
        const meta = source.data[index]?.meta;
        const nodes = plot.querySelectorAll(meta?.points ? `.trace${uid} .point` : `.trace${uid}`);
        const names = experts(meta);
        nodes.forEach((node, i) => shade(node, meta?.points ? names[i] : names[0]));
      }
      (plot._fullLayout.annotations || []).forEach(({ name }, i) =>
        shade(plot.querySelector(`.annotation[data-index="${i}"]`), name),
      );
    }
  }

  /* Offset and length in pixels of one category, or of the unit around a number. */
  function span(axis, place) {
    const at = axis.type === "category" ? axis.d2l_noadd(place) : Number(place);
    const ends = [axis.c2p(at - 0.5), axis.c2p(at + 0.5)].sort((a, b) => a - b);
    return [axis._offset + ends[0], ends[1] - ends[0]];
  }

  function rectangle({ x, y, soft, edge }, name) {
    const node = document.createElement("div");
    node.className = soft ? `${name} ms-soft${edge ? " ms-edge" : ""}` : name;
    Object.assign(node.style, { left: `${x[0]}px`, width: `${x[1]}px`, top: `${y[0]}px`, height: `${y[1]}px` });
    return node;
  }

  Object.assign(MergeScope, { bus, Marks, span });
})();
