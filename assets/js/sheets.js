/* The numbers behind a panel: a table to read, CSV to copy or to save. A panel of HTML brings them as `data-sheet`. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const MOST = 1000; // rows of a table on the page; the CSV has all

  /* Four digits to read; the CSV has them all. */
  const shown = (cell) =>
    cell === null || cell === undefined ? "–" : typeof cell === "number" && !Number.isInteger(cell) ? String(+cell.toPrecision(4)) : String(cell);

  /* Return what fills the place of a data table. */
  function sheet({ columns, rows }, title) {
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
    const [head, body] = ["thead", "tbody"].map((tag) => document.createElement(tag));
    head.append(line(columns, "th"));
    body.append(...rows.slice(0, MOST).map((row) => line(row, "td")));
    node.append(head, body);
    if (rows.length <= MOST) return [node];
    const words = `The first ${MOST.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows; the CSV has all.`;
    return [Object.assign(document.createElement("p"), { textContent: words }), node];
  }

  function csv({ columns, rows }) {
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n");
  }

  /* Put words on the clipboard; returns whether they are there. It needs a secure page that may; elsewhere the old command
     still works. */
  async function write(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const before = document.activeElement;
      const area = Object.assign(document.createElement("textarea"), { value: text });
      area.style.position = "fixed";
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      before?.focus({ preventScroll: true });
      return done;
    }
  }

  const download = (href, name) => Object.assign(document.createElement("a"), { href, download: `mergescope-${name}` }).click();

  /* What the menu Save of a panel does with its table; returns what to say about it. */
  const acts = {
    async csv(table, name) {
      const href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
      download(href, `${name}.csv`);
      setTimeout(() => URL.revokeObjectURL(href), 1000);
      return "Numbers saved as CSV.";
    },
    async copy(table) {
      return (await write(csv(table))) ? "Numbers copied as CSV." : "Copying is not allowed here; save the CSV.";
    },
  };

  /* Close a menu and tell, beside it and aloud, what was done. */
  const told = (menu, sentence) => {
    const words = menu.querySelector("summary");
    menu.open = false;
    words.focus();
    words.textContent = sentence.includes("not allowed") ? "Not allowed" : sentence.includes("copied") ? "Copied" : "Saved";
    menu.closest(".ms-panel").querySelector(".ms-live").textContent = sentence;
    setTimeout(() => (words.textContent = "Save"), 1500);
  };

  const brought = (node) => JSON.parse(node.closest(".ms-panel").querySelector("[data-sheet]").dataset.sheet);

  document.addEventListener("click", async ({ target }) => {
    for (const menu of document.querySelectorAll(".ms-save[open]")) if (!menu.contains(target)) menu.open = false;
    const button = target.closest?.("[data-save]");
    if (!button) return;
    const panel = button.closest(".ms-panel").dataset.panel;
    told(button.closest(".ms-save"), await acts[button.dataset.save](brought(button), panel));
  });
  document.addEventListener("keydown", ({ key, target }) => {
    const menu = key === "Escape" && target.closest?.(".ms-save[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("toggle", ({ target }) => {
    if (!target.matches?.("details[data-sheet][open]")) return;
    const title = target.closest(".ms-panel").querySelector("h3, caption")?.textContent;
    target.querySelector(".ms-table").replaceChildren(...sheet(brought(target), title));
  }, true);

  Object.assign(MergeScope, { sheet, csv, write, download, sheets: { acts, told } });
})();
