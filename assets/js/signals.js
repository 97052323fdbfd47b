// Words that the server sets and that lead to more: drawing what a tab shows. What stands on a closed tab is drawn when
// that tab is opened, so that nobody waits for what nobody sees.
(() => {
  "use strict";
  if (window.MergeSignals) return;

  const waiting = new Set(); // what is to be told once some tab is open
  const open = () => document.querySelector("#mp-tabs button[role=tab][aria-selected=true]")?.dataset.tabId;
  new MutationObserver(() => [...waiting].forEach((tell) => tell())).observe(document.documentElement, {
    subtree: true,
    attributeFilter: ["aria-selected"],
  });

  const changes = (props, watch, tell) => {
    let last = props.value || "";
    watch(["value"], () => {
      if (props.value === last) return;
      last = props.value;
      tell();
    });
    if (last) tell();
  };

  // The event `turn` follows a new word, where a tab is named once that tab is open.
  const turn = (props, trigger, watch) => {
    const { tab } = props;
    const tell = () => {
      const closed = tab && (open() ?? tab) !== tab;
      waiting[closed ? "add" : "delete"](tell);
      if (!closed) trigger("turn", {});
    };
    changes(props, watch, tell);
  };

  // A new word is followed by an event with the name of the tab that is open.
  const among = (props, trigger, watch) => changes(props, watch, () => trigger(`on_${open()}`, {}));

  window.MergeSignals = { turn, among };
})();
