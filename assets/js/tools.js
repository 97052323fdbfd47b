/* A panel's words and tools: heading, views, picture and CSV, data table. */
(() => {
  const MergeScope = (window.MergeScope ||= {});

  class Tools {
    constructor(panel) {
      this.panel = panel;
      const find = (name) => panel.root.querySelector(name);
      this.parts = { title: find("h3"), about: find(".ms-about"), views: find(".ms-views"), tools: find(".ms-tools"),
        empty: find(".ms-empty"), note: find(".ms-note"), aside: find(".ms-aside"), data: find(".ms-data"), table: find(".ms-table"), live: find(".ms-live") };
      this.reset = button("Reset zoom", "Show everything again", () => this.unzoom());
      this.reset.hidden = true;
      this.csv = button("CSV", "Copy the numbers as CSV", () => this.copy());
      this.png = button("PNG", "Save the figure as PNG", () => this.save("png"));
      this.svg = button("SVG", "Save the figure as SVG", () => this.save("svg"));
      this.parts.tools.replaceChildren(this.reset, this.csv, this.png, this.svg);
      this.parts.data.addEventListener("toggle", () => this.fill());
    }

    update() {
      const { meta, props, view } = this.panel;
      const { title, about, empty, data, note, aside } = this.parts;
      title.textContent = meta.title || props.title;
      about.textContent = meta.empty ? "" : meta.about || props.about;
      empty.textContent = meta.empty || (this.panel.source ? "" : props.empty);
      empty.hidden = !empty.textContent;
      note.textContent = meta.note || "";
      note.hidden = !meta.note;
      aside.textContent = meta.aside || "";
      aside.hidden = !meta.aside;
      data.hidden = this.csv.hidden = !meta.table;
      this.png.hidden = this.svg.hidden = !this.panel.source || Boolean(meta.empty);
      this.choices(view);
      this.fill();
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
      if (!this.parts.data.open || !meta.table) return;
      this.parts.table.replaceChildren(table(meta.table, meta.title));
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

    async copy() {
      await write(csv(this.panel.meta.table));
      this.say("Numbers copied as CSV.");
      flash(this.csv, "Copied");
    }

    async save(format) {
      const href = await MergeScope.picture(this.panel, format);
      Object.assign(document.createElement("a"), { href, download: `mergescope-${this.panel.name}.${format}` }).click();
      this.say(`Figure saved as ${format.toUpperCase()}.`);
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

  function flash(node, text) {
    const before = node.textContent;
    node.textContent = text;
    setTimeout(() => (node.textContent = before), 1200);
  }

  /* Four digits to read; the CSV has them all. */
  const shown = (cell) =>
    cell === null || cell === undefined ? "–" : typeof cell === "number" && !Number.isInteger(cell) ? String(+cell.toPrecision(4)) : String(cell);

  function table({ columns, rows }, title) {
    const node = document.createElement("table");
    node.setAttribute("aria-label", title || "Data");
    const line = (cells, tag) => {
      const row = document.createElement("tr");
      row.append(...cells.map((cell, i) => {
        const td = Object.assign(document.createElement(tag), { textContent: shown(cell) });
        if (typeof (rows[0]?.[i] ?? cell) === "string") td.className = "ms-word";
        if (tag === "th") td.scope = "col";
        return td;
      }));
      return row;
    };
    const head = document.createElement("thead");
    const body = document.createElement("tbody");
    head.append(line(columns, "th"));
    body.append(...rows.slice(0, 1000).map((row) => line(row, "td")));
    node.append(head, body);
    return node;
  }

  function csv({ columns, rows }) {
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n");
  }

  /* The clipboard needs a secure page; elsewhere the old command still works. */
  async function write(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  Object.assign(MergeScope, { Tools, csv });
})();
