// The page's own widgets: HTML made by Python reports what the visitor does.
(() => {
  "use strict";
  if (window.MergePage) return;

  const PAUSE = 90; // milliseconds between reports of a slider that is being dragged
  const PATIENCE = 400; // milliseconds before the answer of another recipe is marked: a moved slider is answered sooner

  // What an element says: its act, the words in its data attributes, its value, and its group's values.
  const said = (target) => {
    const { emit, ...words } = target.dataset;
    const group = target.closest("[data-group]");
    const fields = group ? [...group.querySelectorAll("input")] : [];
    const checks = fields.filter((f) => f.type === "checkbox");
    return {
      ...words,
      act: emit,
      value: target.type === "checkbox" && !group ? target.checked : target.value ?? null,
      values: (checks.length ? checks.filter((f) => f.checked) : fields).map((f) => f.value),
    };
  };

  // A slider and its box show the same number; the filled part of the track follows.
  const pair = (target) => {
    const holder = target.closest(".mp-hp");
    if (!holder || holder.matches("details")) return;
    for (const other of holder.querySelectorAll("input[type=range], input[type=number]")) {
      if (other !== target) other.value = target.value;
      if (other.type === "range") {
        const share = (Number(other.value) - other.min) / (other.max - other.min || 1);
        other.style.setProperty("--at", `${Math.min(1, Math.max(0, share)) * 100}%`);
      }
    }
  };

  // Gradio patches attributes, which a box or menu no longer follows once it was touched; `data-drawn` of the new HTML
  // says that all of them shall show what Python wrote.
  const refill = (element) => {
    for (const box of element.querySelectorAll("input")) {
      if (["checkbox", "radio"].includes(box.type)) box.checked = box.defaultChecked;
      else box.value = box.defaultValue;
    }
    for (const option of element.querySelectorAll("option")) if (option.defaultSelected) option.selected = true;
  };

  // While the server has not answered what a box or slider said, only the last of what it says meanwhile is kept, and
  // leaves with the answer, or before anything else that the visitor does.
  const LATE = 15000; // milliseconds after which no answer is waited for
  const holding = new Set();
  let number = 0;
  const release = () => [...holding].forEach((letGo) => letGo());
  document.addEventListener("click", release, true);

  const mount = (element, trigger, watch) => {
    let timer = 0;
    let last = null;
    let awaited = 0; // the number of what this widget said and is not answered
    let held = null;
    const letGo = () => {
      const target = held;
      holding.delete(letGo);
      [awaited, held] = [0, null];
      if (target?.isConnected) report(target);
    };
    addEventListener("mp-answered", (event) => event.detail === awaited && letGo());
    const written = () => element.querySelector("[data-drawn]")?.dataset.drawn;
    let drawn = written();
    let unfolded = false; // new HTML folds what the visitor had unfolded
    const fold = () => element.querySelector(".mp-variant");
    element.addEventListener("toggle", (event) => event.target === fold() && (unfolded = event.target.open), true);
    const arrives = () => element.querySelector("[data-arrive]");
    let arrived = arrives()?.dataset.arrive;
    // What was chosen elsewhere on the page is told here: bring it into view.
    const arrive = () => {
      const place = arrives();
      if (!place || place.dataset.arrive === arrived) return;
      arrived = place.dataset.arrive;
      if (arrived && navigator.userActivation?.hasBeenActive) goTo(place, "nearest");
    };
    watch(["value"], () => {
      if (unfolded && fold()) fold().open = true;
      arrive();
      compare();
      MergeScope.views.fit(element);
      if (written() === drawn) return;
      drawn = written();
      last = null;
      refill(element);
    });
    const report = (target) => {
      clearTimeout(timer);
      timer = 0;
      const sets = target.dataset.emit === "set";
      if (sets && awaited) {
        if (held && held.dataset.name !== target.dataset.name) letGo();
        held = target;
        holding.add(letGo);
        return;
      }
      if (!sets) release();
      const now = said(target);
      const words = JSON.stringify(now);
      if (target.type !== "checkbox" && target.tagName !== "BUTTON" && words === last) return;
      last = words;
      if (sets) {
        const mine = (awaited = now.number = number += 1);
        setTimeout(() => mine === awaited && letGo(), LATE);
      }
      trigger("act", now);
      if ("live" in now) setTimeout(() => trigger("live", now)); // the act leaves first
    };
    element.addEventListener("input", (event) => {
      const target = event.target.closest("[data-emit]");
      if (!target) return;
      pair(target);
      const form = target.closest(".mp-form");
      if (form) leavePreset(form);
      if (target.type === "range" && !timer) timer = setTimeout(() => report(target), PAUSE);
    });
    element.addEventListener("change", (event) => {
      const target = event.target.closest("[data-emit]");
      if (target?.type === "number") target.setAttribute("aria-invalid", String(!target.checkValidity()));
      if (target) report(target);
    });
    element.addEventListener("click", (event) => {
      const target = event.target.closest("button[data-emit]") ?? event.target.closest("tr[data-emit]");
      if (target && !event.target.closest("a")) report(target);
      const check = event.target.closest("button[data-check]");
      if (check) checkAll(check, report);
      const step = event.target.closest("button[data-step]");
      if (step) stepMenu(element.querySelector("select"), Number(step.dataset.step));
    });
  };

  // The answer on the page is of the merge before while the recipe is another one; `data-before` has it marked.
  let marking = 0;
  const compare = () => {
    const shown = document.querySelector("#mp-headline [data-shown]")?.dataset.shown;
    const wanted = document.querySelector("#mp-link [data-recipe]")?.dataset.recipe;
    clearTimeout(marking);
    if (!shown || shown === wanted) document.body.removeAttribute("data-before");
    else marking = setTimeout(() => document.body.setAttribute("data-before", ""), PATIENCE);
  };

  // A number that was touched is at no preset any more.
  const leavePreset = (form) => {
    for (const button of form.querySelectorAll("[data-emit=preset]")) button.setAttribute("aria-pressed", "false");
    form.querySelector(".mp-remark")?.remove();
  };

  const checkAll = (button, report) => {
    const boxes = [...button.closest("[data-group]").querySelectorAll("input[type=checkbox]")];
    for (const box of boxes) box.checked = button.dataset.check === "all";
    if (boxes.length) report(boxes[0]);
  };

  const stepMenu = (menu, step) => {
    menu.selectedIndex = (menu.selectedIndex + step + menu.options.length) % menu.options.length;
    menu.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const goTo = (element, block = "start") =>
    element.scrollIntoView({ block, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });

  // In one column the answer is below the button: go there.
  document.addEventListener("click", (event) => {
    const answer = document.querySelector("#mp-answer");
    if (event.target.closest?.("#mp-merge") && answer.getBoundingClientRect().top > innerHeight / 2) goTo(answer);
  });

  // An input that was chosen on another tab is explained below the gallery: go there once it is, unless the visitor does
  // something else meanwhile.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("button[data-emit=input]")) return;
    const before = document.querySelector("#mp-why h3")?.textContent;
    const until = Date.now() + 8000;
    const elsewhere = new AbortController();
    for (const act of ["pointerdown", "keydown", "wheel", "touchmove"])
      document.addEventListener(act, () => elsewhere.abort(), { signal: elsewhere.signal, capture: true, passive: true });
    const go = (element) => elsewhere.signal.aborted || goTo(element);
    const look = () => {
      const why = document.querySelector("#mp-why"); // a tab that was never open is not there yet
      const told = why?.offsetParent && why.querySelector(".ms-router") && why.querySelector("h3");
      if (told && (told.textContent !== before || Date.now() > until - 5000)) {
        go(why);
        setTimeout(() => { // what stands above it has grown meanwhile
          go(why);
          elsewhere.abort();
        }, 700);
      } else if (Date.now() < until) setTimeout(look, 100);
      else elsewhere.abort();
    };
    look();
  });

  // The status line changes in place; what is said aloud waits until the words have settled.
  const status = (element, props, watch) => {
    const [words, bar, aloud] = [".mp-said", ".mp-bar", "[aria-live]"].map((s) => element.querySelector(s));
    let spoken = 0;
    let later = 0;
    const speak = () => {
      spoken = Date.now();
      aloud.textContent = words.textContent;
    };
    const write = () => {
      const { text, done, total, tone } = JSON.parse(props.value || '{"text":""}');
      words.textContent = text;
      element.firstElementChild.dataset.tone = tone || "";
      bar.hidden = !total;
      if (total) Object.assign(bar, { max: total, value: done });
      clearTimeout(later);
      later = setTimeout(speak, tone === "busy" ? Math.max(0, spoken + 3000 - Date.now()) : 300);
    };
    watch(["value"], write);
    write();
  };

  window.MergePage = { mount, compare, status };
})();
