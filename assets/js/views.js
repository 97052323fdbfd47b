/* What the visitor chose to see of a panel: its view, the moment of its film, the filter of the gallery. It is drawn here at
   once; the session is told, so that it is in the address, and `open` brings back what an address says. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  if (MergeScope.views) return;
  const GALLERY = "route_gallery";
  const ALL = "all"; // the filter that shows everything
  let kept = new Map();

  MergeScope.views = {
    of: (panel) => kept.get(panel),

    /* What is usual for a panel needs no word. */
    tell(panel, view, usual) {
      const word = view === usual ? "" : view;
      if ((kept.get(panel) ?? "") === word) return;
      if (word) kept.set(panel, word);
      else kept.delete(panel);
      document.dispatchEvent(new CustomEvent("mergescope:chose", { detail: { panel, view: word } }));
    },

    /* Take the words of an address, `spectrum.energy~mask_map-at.5`. */
    open(words) {
      const parts = words.split("~").filter((part) => part.includes("."));
      kept = new Map(parts.map((part) => [part.slice(0, part.indexOf(".")), part.slice(part.indexOf(".") + 1)]));
      document.dispatchEvent(new Event("mergescope:views"));
      this.fit(document);
    },

    /* Set the filter of a gallery that was written anew; one that it does not offer shows all. */
    fit(root) {
      const filters = [...root.querySelectorAll("[name=ms-show]")];
      const wanted = filters.find((filter) => filter.value === kept.get(GALLERY)) ?? filters[0];
      if (wanted) wanted.checked = true;
    },
  };

  document.addEventListener("change", ({ target }) => {
    if (target.name === "ms-show") MergeScope.views.tell(GALLERY, target.value, ALL);
  });
})();
