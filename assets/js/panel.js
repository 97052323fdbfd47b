/* One Plotly panel on the page: parse, theme, draw on the same node, and tell Python what was clicked. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const NARROW = 480;
  /* One object for every panel and every draw: Plotly.react with a fresh config loses its context. */
  const CONFIG = {
    displaylogo: false,
    displayModeBar: false,
    modeBarButtonsToRemove: ["sendChartToCloud"],
    scrollZoom: false,
    doubleClick: "reset",
    responsive: false,
  };
  const panels = new Set();
  /* Gradio's base changes no address, but beside one Plotly names clip paths by the whole address of the page, and each
     time that changes the browser fetches the page that is named. */
  document.querySelector('base[href="./"]')?.remove();

  class Panel {
    constructor(element, props, trigger) {
      this.root = element.querySelector(".ms-panel");
      this.plot = element.querySelector(".ms-plot");
      this.props = props;
      this.trigger = trigger;
      this.name = props.panel;
      this.view = null;
      this.json = null;
      this.figure = null;
      this.width = 0;
      this.marks = new MergeScope.Marks(this);
      this.tools = new MergeScope.Tools(this);
      this.keys = new MergeScope.Keys(this);
      this.film = new MergeScope.Film(this);
      this.stopTheme = MergeScope.onTheme(() => this.schedule());
      this.reopen = () => this.restore();
      document.addEventListener("mergescope:views", this.reopen);
      this.resize = new ResizeObserver(([{ contentRect }]) => {
        this.room = Math.round(contentRect.width);
        if (Math.abs(this.room - this.width) > 1) this.schedule();
      });
      this.resize.observe(this.plot);
      MergeScope.turns.enter(this);
    }

    /* Read the component's value; keep the view that the visitor chose. */
    update() {
      const json = this.props.value;
      if (json === this.json) return;
      this.json = json;
      const payload = json ? JSON.parse(json) : { views: {}, labels: {} };
      this.views = payload.views || { "": payload };
      this.labels = payload.labels || {};
      const before = this.usual;
      this.usual = payload.view ?? Object.keys(this.views)[0];
      if (!(this.view in this.views) || this.usual !== before) this.view = this.wanted();
      this.turn();
    }

    /* The view that the visitor chose, where this figure has it, else the usual one. */
    wanted() {
      const kept = MergeScope.views.of(this.name);
      return kept in this.views ? kept : this.usual;
    }

    choose(view) {
      this.view = view;
      this.turn();
      MergeScope.views.tell(this.name, view, this.usual);
    }

    /* Show what an address says that was opened. */
    restore() {
      if (!this.views) return;
      const view = this.wanted();
      const other = view !== this.view;
      this.view = view;
      if (this.film.restore() || other) this.turn();
    }

    /* Show a view, at the moment that is looked at where it has several. */
    turn() {
      this.source = this.views[this.view];
      this.film.take(this.source?.layout?.meta?.film);
      this.show();
      if (this.meta.selected) MergeScope.bus.place(this.meta.selected);
    }

    show() {
      const given = this.source?.layout?.meta || {};
      this.meta = { ...given, title: this.film.title || given.title };
      this.tools.update();
      MergeScope.turns.ask(this);
    }

    schedule() {
      if (this.pending) return;
      this.pending = requestAnimationFrame(() => {
        this.pending = null;
        MergeScope.turns.ask(this);
      });
    }

    /* Draw the current figure at the current width and theme; a hidden panel waits until it is seen. */
    draw() {
      const empty = !this.source || Boolean(this.meta.empty);
      this.plot.hidden = empty;
      if (empty) return;
      const width = (this.width = this.room ?? this.plot.clientWidth); // asking for a width lays out the page anew
      if (!width) return;
      const figure = this.composed(width, this.plot);
      this.figure = figure;
      this.ranges = structuredClone({ xaxis: figure.layout.xaxis?.range, yaxis: figure.layout.yaxis?.range });
      this.plot.style.setProperty("--ms-height", `${figure.layout.height}px`);
      Plotly.react(this.plot, figure.data, figure.layout, CONFIG).then(() => this.drawn());
    }

    /* Return the figure of this view for a width, in the colours and the font of an element. */
    composed(width, element) {
      const figure = MergeScope.resolve({ data: this.source.data, layout: { ...this.source.layout, meta: null } }, element);
      delete figure.layout.template;
      adapt(figure, this.film.changes);
      if (width < NARROW) adapt(figure, { ...this.meta.narrow, ...this.film.narrow });
      MergeScope.room(figure, width);
      figure.data.forEach(MergeScope.spell);
      if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
      figure.layout.width = width;
      figure.layout.height ||= this.props.height;
      figure.layout.uirevision ??= `${this.name} ${this.view}`;
      return figure;
    }

    get zoomed() {
      return !this.tools.reset.hidden;
    }

    drawn() {
      if (!this.listening) this.listen();
      this.marks.paint();
      this.tools.zoomed();
    }

    listen() {
      this.listening = true;
      this.plot.on("plotly_click", (event) => this.select(event.points[0]));
      this.plot.on("plotly_hover", (event) => MergeScope.bus.mark(this.address(event.points[0])));
      this.plot.on("plotly_unhover", () => MergeScope.bus.mark(null));
      this.plot.on("plotly_selected", (event) => event && this.enclose(event.points || []));
      this.plot.on("plotly_deselect", () => this.enclose([]));
      this.plot.on("plotly_relayout", () => {
        this.marks.paint();
        this.tools.zoomed();
      });
    }

    select(point) {
      const address = this.address(point);
      this.picked = this.number(point);
      this.tools.offer();
      MergeScope.bus.select(address);
      this.trigger("select", this.event(point, address));
    }

    /* Points that were drawn around, by the numbers they carry. */
    enclose(points) {
      const ids = points.map((point) => this.number(point)).filter((id) => id !== undefined);
      this.trigger("select", plain({ panel: this.name, view: this.view, ids }));
    }

    /* True where points can be drawn around, which takes a mouse. */
    get encloses() {
      return this.source?.layout?.dragmode === "lasso";
    }

    /* Choose the points nearest to the one that was chosen, as by drawing around them; those aside are no choice. */
    around(count) {
      const points = this.plot._fullData.flatMap((trace) =>
        Array.from(trace.customdata ?? [], (id, i) => ({ id, at: [trace.x[i], trace.y[i]], aside: trace.meta?.aside })));
      const from = points.find(({ id }) => id === this.picked)?.at;
      if (!from) return;
      const far = ({ at }) => Math.hypot(at[0] - from[0], at[1] - from[1]);
      const nearest = points.filter(({ id, aside }) => Number.isInteger(id) && !aside).sort((a, b) => far(a) - far(b));
      this.trigger("select", plain({ panel: this.name, view: this.view, ids: nearest.slice(0, count).map(({ id }) => id) }));
    }

    event(point, address) {
      const { x, y, z, curveNumber: curve, pointNumber: index } = point;
      return plain({ panel: this.name, view: this.view, x, y, z, curve, index, id: this.number(point), ...address });
    }

    /* The whole number that a point carries as its customdata, if it does. */
    number({ curveNumber, pointNumber }) {
      const found = this.plot._fullData?.[curveNumber]?.customdata?.[pointNumber];
      return Number.isInteger(found) ? found : undefined;
    }

    /* What a point is about: its trace's address and those of its places on the axes. */
    address(point) {
      const trace = this.source.data[point.curveNumber] || {};
      const own = trace.meta?.points ? trace.meta.points[point.pointNumber] : trace.meta;
      return { ...own, ...this.at("x", point.x), ...this.at("y", point.y) };
    }

    at(axis, position) {
      return (this.meta.axes?.[axis] || []).find(([place]) => place === position)?.[1];
    }

    unmount() {
      this.stopTheme();
      this.film.stop();
      this.resize.disconnect();
      MergeScope.turns.leave(this);
      this.marks.stop();
      cancelAnimationFrame(this.pending);
      document.removeEventListener("mergescope:views", this.reopen);
      if (this.listening) Plotly.purge(this.plot);
      panels.delete(this);
    }
  }

  /* Apply {"layout.yaxis.ticktext": ..., "data.0.texttemplate": ...}: the changes for a narrow page. */
  function adapt(figure, changes) {
    for (const [path, value] of Object.entries(changes || {})) {
      const keys = path.split(".");
      const last = keys.pop();
      const target = keys.reduce((node, key) => (node[key] ??= {}), figure);
      target[last] = value;
    }
  }

  const plain = (value) => JSON.parse(JSON.stringify(value));

  /* Purge panels that left the page. Gradio may move a node, so look again before letting go. */
  let sweeping = null;
  const sweep = () => {
    sweeping ??= setTimeout(() => {
      sweeping = null;
      for (const panel of [...panels]) if (!panel.plot.isConnected) panel.unmount();
    }, 1000);
  };
  new MutationObserver(sweep).observe(document.documentElement, { childList: true, subtree: true });

  MergeScope.panels = panels;
  MergeScope.CONFIG = CONFIG;
  MergeScope.mount = (element, props, trigger, watch) => {
    const panel = new Panel(element, props, trigger);
    panels.add(panel);
    watch(["value"], () => panel.update());
    panel.update();
    return panel;
  };
})();
