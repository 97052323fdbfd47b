/* Figures name colours by CSS variable; this resolves them for the element a figure is drawn in. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const VARIABLE = /var\((--[\w-]+)\)/g;

  /* Return `value` with every var(--name) replaced by what it is at `element`; typed arrays stay as they are. */
  MergeScope.resolve = (value, element) => {
    const style = getComputedStyle(element);
    const known = new Map();
    const read = (name) => {
      if (name === "--ms-font") return style.fontFamily;
      if (!known.has(name)) known.set(name, style.getPropertyValue(name).trim() || "#888");
      return known.get(name);
    };
    const walk = (node, key) => {
      if (typeof node === "string") return key === "bdata" ? node : node.replace(VARIABLE, (_, name) => read(name));
      if (Array.isArray(node)) return node.every(Number.isFinite) ? node : node.map((item) => walk(item, ""));
      if (node && typeof node === "object")
        return Object.fromEntries(Object.entries(node).map(([name, item]) => [name, walk(item, name)]));
      return node;
    };
    return walk(value, "");
  };

  /* Call `redraw` whenever the page turns light or dark. Returns a function that stops. */
  MergeScope.onTheme = (redraw) => {
    const observer = new MutationObserver(redraw);
    for (const root of [document.body, document.documentElement])
      observer.observe(root, { attributes: true, attributeFilter: ["class"] });
    return () => observer.disconnect();
  };
})();
