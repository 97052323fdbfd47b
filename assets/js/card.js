// The formula card and the controls point at each other: a number takes to its control, a control lights its numbers.
(() => {
  "use strict";
  if (window.MergeCard) return;
  window.MergeCard = true;

  const lit = document.head.appendChild(document.createElement("style")); // outlives every redrawing of the card

  const light = (event) => {
    const holder = event.target.closest?.(".mp-hp") ?? document.activeElement?.closest(".mp-hp");
    const { owner, name } = holder?.querySelector("[data-owner][data-name]")?.dataset ?? {};
    const rule = owner ? `[data-of="hp-${owner}-${name}"] { background: var(--mp-lit) !important; }` : "";
    if (lit.textContent !== rule) lit.textContent = rule;
  };

  // Not `pointerover`: a pointer at rest is over another control whenever the page moves below it.
  for (const name of ["pointermove", "focusin", "input"]) document.addEventListener(name, light);
  document.addEventListener("click", (event) => {
    const number = event.target.closest?.("button[data-of]");
    const control = number && document.getElementById(number.dataset.of);
    control?.scrollIntoView({ block: "center" });
    control?.focus({ preventScroll: true });
  });
})();
