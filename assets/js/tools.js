/* A panel's words and tools: heading, views, what can be saved, data table. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const NEAREST = 20; // points that are chosen around one

  class Tools {
    constructor(panel) {
      this.panel = panel;
      const find = (name) => panel.root.querySelector(name);
      this.parts = { title: find("h3"), about: find(".ms-about"), views: find(".ms-views"), tools: find(".ms-tools"),
        empty: find(".ms-empty"), note: find(".ms-note"), data: find(".ms-data"), table: find(".ms-table"), live: find(".ms-live") };
      this.reset = button("Reset zoom", "Show everything again", () => this.unzoom());
      this.near = button(`Its ${NEAREST} nearest`, `Choose the ${NEAREST} points nearest to the one chosen`, () => panel.around(NEAREST));
      this.reset.hidden = this.near.hidden = true;
      this.menu = Object.assign(document.createElement("details"), { className: "ms-save" });
      this.png = button("Picture, PNG", "", () => this.save("png"));
      this.svg = button("Drawing, SVG", "", () => this.save("svg"));
      this.csv = button("Numbers, CSV", "", () => this.give("csv"));
      this.copy = button("Copy numbers", "", () => this.give("copy"));
      const choices = Object.assign(document.createElement("div"), { className: "ms-menu" });
      choices.append(this.png, this.svg, this.csv, this.copy);
      this.menu.append(Object.assign(document.createElement("summary"), { textContent: "Save" }), choices);
      this.parts.tools.replaceChildren(this.reset, this.near, this.menu);
      this.parts.data.addEventListener("toggle", () => this.fill());
    }

    update() {
      const { meta, props, view } = this.panel;
      const { title, about, empty, data, note } = this.parts;
      title.textContent = meta.title || props.title;
      about.textContent = meta.empty ? "" : meta.about || props.about;
      empty.textContent = meta.empty || (this.panel.source ? "" : props.empty);
      empty.hidden = !empty.textContent;
      note.textContent = meta.note || "";
      note.hidden = !meta.note;
      data.hidden = this.csv.hidden = this.copy.hidden = !meta.table;
      this.png.hidden = this.svg.hidden = !this.panel.source || Boolean(meta.empty);
      this.menu.hidden = this.csv.hidden && this.png.hidden;
      this.offer();
      this.choices(view);
      this.fill();
    }

    /* Where points can be drawn around, those near a chosen one can be chosen without a mouse. */
    offer() {
      this.near.hidden = !this.panel.encloses || this.panel.picked === undefined;
    }

    /* Buttons for two to four views, a list for more; keep them while the choices stay the same. */
    choices(view) {
      const { labels } = this.panel;
      const keys = Object.keys(labels);
      const text = JSON.stringify(labels);
      if (text !== this.drawnViews) {
        this.drawnViews = text;
        const nodes = keys.length > 4 ? [list(labels, this.panel)] : keys.map((key) => toggle(key, labels[key], this.panel));
        this.parts.views.replaceChildren(...(keys.length > 1 ? nodes : []));
      }
      for (const node of this.parts.views.children)
        node.tagName === "SELECT" ? (node.value = view) : node.setAttribute("aria-pressed", String(node.dataset.view === view));
    }

    fill() {
      const { meta } = this.panel;
      if (this.parts.data.open && meta.table) this.parts.table.replaceChildren(...MergeScope.sheet(meta.table, meta.title));
    }

    say(sentence) {
      this.parts.live.textContent = sentence;
    }

    zoomed() {
      const { plot, ranges } = this.panel;
      const moved = ([name, given]) => given?.some((end, i) => Math.abs(end - plot._fullLayout[name].range[i]) > 1e-9);
      this.reset.hidden = !Object.entries(ranges || {}).some(moved);
    }

    unzoom() {
      const given = Object.entries(this.panel.ranges).filter(([, range]) => range);
      Plotly.relayout(this.panel.plot, Object.fromEntries(given.map(([name, range]) => [`${name}.range`, [...range]])));
    }

    async give(how) {
      const { acts, told } = MergeScope.sheets;
      told(this.menu, await acts[how](this.panel.meta.table, this.panel.name));
    }

    async save(format) {
      MergeScope.download(await MergeScope.picture(this.panel, format), `${this.panel.name}.${format}`);
      MergeScope.sheets.told(this.menu, `Figure saved as ${format.toUpperCase()}.`);
    }
  }

  function button(text, title, act) {
    const node = Object.assign(document.createElement("button"), { type: "button", textContent: text, title, ariaLabel: title || null });
    node.addEventListener("click", act);
    return node;
  }

  function toggle(key, text, panel) {
    const node = button(text, "", () => panel.choose(key));
    node.dataset.view = key;
    return node;
  }

  function list(labels, panel) {
    const node = document.createElement("select");
    node.setAttribute("aria-label", `What ${panel.props.title || "this panel"} shows`);
    node.append(...Object.entries(labels).map(([key, text]) => new Option(text, key)));
    node.addEventListener("change", () => panel.choose(node.value));
    return node;
  }

  Object.assign(MergeScope, { Tools });
})();
