/* When panels are drawn: of those near the window the first at once and each other one in a task of its own, so that the
   browser can show what is drawn meanwhile; the rest one by one while the browser has nothing else to do. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const MARGIN = 200; // pixels around the window that count as near
  const LATEST = 300; // milliseconds after which one more of the rest is drawn even if the browser is busy
  const owner = new WeakMap();
  const waiting = new Set();
  const soon = window.requestIdleCallback ? (next) => requestIdleCallback(next, { timeout: LATEST }) : setTimeout;
  let asked = null;
  let hurrying = false;

  const draw = (panel) => {
    waiting.delete(panel);
    panel.draw();
  };

  const later = () => {
    asked ??= soon(() => {
      asked = null;
      const [panel] = waiting;
      if (panel) draw(panel);
      if (waiting.size) later();
    });
  };

  const next = () => {
    const panel = [...waiting].find((one) => one.near);
    hurrying = Boolean(panel);
    if (!panel) return;
    setTimeout(next);
    draw(panel);
  };

  const look = (panel) => {
    if (panel.near === false) later();
    else if (panel.near && !hurrying) next();
  };

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) owner.get(target).near = isIntersecting;
      for (const { target } of entries) if (waiting.has(owner.get(target))) look(owner.get(target));
    },
    { rootMargin: `${MARGIN}px` },
  );

  MergeScope.turns = {
    enter(panel) {
      owner.set(panel.root, panel);
      observer.observe(panel.root);
    },
    leave(panel) {
      observer.unobserve(panel.root);
      waiting.delete(panel);
    },
    /* A new panel waits until the browser has told where it is: asking would lay out the page once for every panel. */
    ask(panel) {
      waiting.add(panel);
      look(panel);
    },
    waits: (panel) => waiting.has(panel),
  };
})();
