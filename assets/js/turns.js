/* When panels are drawn: those near the window at once, the others one by one while the browser has nothing else to do. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const MARGIN = 200; // pixels around the window that count as near
  const LATEST = 300; // milliseconds after which one more of the others is drawn even if the browser is busy
  const owner = new WeakMap();
  const waiting = new Set();
  const soon = window.requestIdleCallback ? (next) => requestIdleCallback(next, { timeout: LATEST }) : setTimeout;
  let asked = null;

  const later = () => {
    asked ??= soon(() => {
      asked = null;
      const [panel] = waiting;
      if (panel) draw(panel);
      if (waiting.size) later();
    });
  };

  const draw = (panel) => {
    waiting.delete(panel);
    panel.draw();
  };

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const panel = owner.get(target);
        panel.near = isIntersecting;
        if (isIntersecting && waiting.has(panel)) draw(panel);
      }
    },
    { rootMargin: `${MARGIN}px` },
  );

  const near = (panel) => {
    if (panel.near !== undefined) return panel.near;
    const { top, bottom } = panel.root.getBoundingClientRect();
    return bottom > -MARGIN && top < innerHeight + MARGIN;
  };

  MergeScope.turns = {
    enter(panel) {
      owner.set(panel.root, panel);
      observer.observe(panel.root);
    },
    leave(panel) {
      observer.unobserve(panel.root);
      waiting.delete(panel);
    },
    ask(panel) {
      if (near(panel)) return draw(panel);
      waiting.add(panel);
      later();
    },
    waits: (panel) => waiting.has(panel),
  };
})();
