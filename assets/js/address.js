// The address of the page: it follows the session, every settled change is a step to go back to, and it can be given away.
(() => {
  "use strict";
  if (window.MergeAddress) return;

  const SETTLED = 700; // changes that follow each other sooner are one step of the history
  const FRAMED = window.parent !== window;
  // The page of a Space shows the app in a frame. It hands its query and fragment on to it once, at the start, and takes
  // another pair as a message; where it does not, the message is lost and nothing else.
  const SPACES = "https://huggingface.co";
  const above = () => [...(location.ancestorOrigins ?? []), document.referrer && new URL(document.referrer).origin];
  const IN_SPACE = FRAMED && above().includes(SPACES);

  const parts = () => location.search.slice(1).split("&").filter(Boolean);
  // Words of Gradio and of Spaces, such as the key to a private Space, are nothing to give away.
  const ours = () => parts().filter((part) => !part.startsWith("__")).join("&");
  const foreign = (told) => parts().filter((part) => !told.keys.split(" ").includes(part.split("=")[0]));
  const tellOuter = () => IN_SPACE && window.parent.postMessage({ queryString: ours(), hash: location.hash }, SPACES);

  // `data-query` of the link widget goes to the address bar beside the words that others put there, so copying it shares
  // everything. Going back or on tells Python to open that address. Inside a frame the steps are kept here: those of the
  // browser are also the outer page's.
  const follow = (element, trigger, watch) => {
    let at = FRAMED ? 0 : (history.state?.step ?? 0);
    let top = at;
    let when = Infinity;
    let turn = 0; // how often an address was opened; answers to what was done before the last time tell nothing
    let turning = false;
    const kept = [];
    const told = () => element.querySelector("[data-query]")?.dataset;
    const reopen = () => {
      turning = true;
      turn += 1;
      trigger("act", { act: "open", value: location.search.slice(1), turn: String(turn) });
    };
    const paint = () => {
      element.querySelector("[data-undo]")?.toggleAttribute("disabled", at <= 0);
      element.querySelector("[data-redo]")?.toggleAttribute("disabled", at >= top);
    };
    const put = (search, same) => {
      if (!same) top = at += 1;
      kept[at] = `${location.pathname}${search}${location.hash}`;
      history[same || FRAMED ? "replaceState" : "pushState"]({ step: at }, "", kept[at]);
      tellOuter();
    };
    const write = () => {
      const now = told();
      if (now?.turn === "lost") return turning || reopen();
      if (now && now.turn !== (turn ? String(turn) : "")) return;
      if (now?.query) {
        const search = `?${[now.query, ...foreign(now)].join("&")}`;
        const [first, other] = [when === Infinity, search !== location.search];
        kept[at] ??= location.pathname + location.search + location.hash;
        if (turning || first) MergeScope.views.open(new URLSearchParams(now.query).get("panels") ?? "");
        if (other) put(search, turning || first || Date.now() - when < SETTLED);
        if (first) tabs.open();
        if (first || other) when = other && !turning ? Date.now() : 0;
      }
      if (now) turning = false;
      paint();
      MergePage.compare();
    };
    const arrived = () => {
      when = 0;
      paint();
      tabs.tell();
      reopen();
    };
    const go = (step) => {
      if (step < 0 ? at <= 0 : at >= top) return;
      if (!FRAMED) return history.go(step);
      at += step;
      history.replaceState({ step: at }, "", kept[at]);
      arrived();
    };
    addEventListener("popstate", (event) => {
      at = event.state?.step ?? 0;
      top = Math.max(top, at);
      arrived();
    });
    element.addEventListener("click", (event) => {
      if (event.target.closest("[data-undo]")) go(-1);
      if (event.target.closest("[data-redo]")) go(1);
      const copy = event.target.closest("[data-copy]");
      if (copy) give(copy, told());
    });
    document.addEventListener("keydown", (event) => {
      const key = event.key.toLowerCase();
      const typing = event.target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select");
      if (typing || event.altKey || !(event.ctrlKey || event.metaKey) || !["z", "y"].includes(key)) return;
      event.preventDefault();
      go(key === "y" || event.shiftKey ? 1 : -1);
    });
    document.addEventListener("mergescope:chose", ({ detail }) => trigger("act", { act: "view", ...detail }));
    watch(["value"], write);
    write();
  };

  // The tab that is open is the fragment of the address, `#inputs`; the first one is none.
  const tabs = {
    all: () => [...document.querySelectorAll("#mp-tabs button[role=tab]")],
    word: (tab) => `#${tab.textContent.trim().toLowerCase().replaceAll(" ", "-")}`,
    open() {
      const [wanted] = this.all().filter((tab) => this.word(tab) === location.hash);
      if (wanted) setTimeout(() => wanted.click(), 60); // once the server's own choice of a tab is on the page
      const bar = document.querySelector("#mp-tabs");
      const seen = new MutationObserver(() => this.tell());
      setTimeout(() => seen.observe(bar, { subtree: true, attributeFilter: ["aria-selected"] }), 120);
    },
    tell() {
      const now = this.all().findIndex((tab) => tab.ariaSelected === "true");
      const hash = now > 0 ? this.word(this.all()[now]) : "";
      if (now < 0 || hash === location.hash) return;
      history.replaceState(history.state, "", `${location.pathname}${location.search}${hash}`);
      tellOuter();
    },
  };

  // Copy the address that opens this state elsewhere: in a Space that of its page. Where nothing may be copied, show it.
  const give = async (button, told) => {
    const page = IN_SPACE && told.space ? `${SPACES}/spaces/${told.space}` : location.origin + location.pathname;
    const address = `${page}?${ours()}${location.hash}`;
    if (!(await MergeScope.write(address))) return offer(button, address);
    const words = button.querySelector("[aria-live]");
    words.textContent = "Link copied";
    setTimeout(() => (words.textContent = "Copy link"), 2000);
  };

  const offer = (button, address) => {
    const field = Object.assign(document.createElement("input"), { className: "mp-box mp-address", readOnly: true, value: address });
    field.setAttribute("aria-label", "Address of what is on the page, to be copied from here");
    field.addEventListener("blur", () => setTimeout(() => field.remove())); // it may be on its way out already
    field.addEventListener("keydown", (event) => event.key === "Escape" && button.focus());
    button.after(field);
    field.select();
  };

  window.MergeAddress = { follow };
})();
