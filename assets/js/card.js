// The formula card and the controls point at each other: a number takes to its control, a control lights its numbers.
(() => {
  "use strict";
  if (window.MergeCard) return;
  window.MergeCard = true;

  const lit = document.head.appendChild(document.createElement("style")); // outlives every redrawing of the card

  const light = (event) => {
    const holder = event.target.closest?.(".mp-hp") ?? document.activeElement?.closest(".mp-hp");
    const { owner, name } = holder?.querySelector("[data-owner][data-name]")?.dataset ?? {};
    lit.textContent = owner ? `[data-of="hp-${owner}-${name}"] { background: var(--mp-lit); }` : "";
  };

  document.addEventListener("pointerover", light);
  document.addEventListener("focusin", light);
  document.addEventListener("click", (event) => {
    const number = event.target.closest?.("button[data-of]");
    const control = number && document.getElementById(number.dataset.of);
    control?.scrollIntoView({ block: "center" });
    control?.focus({ preventScroll: true });
  });
})();
