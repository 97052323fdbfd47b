// Takes the opening away once the page has drawn what it shows; of a link, whose state it does not know, it shows nothing.
(() => {
  const LONGEST = 15000; // ms, whatever happens
  const opening = document.getElementById("ms-opening");
  const asked = new URLSearchParams(location.search);
  const theme = asked.get("__theme") ?? "system";
  const link = [...asked.keys()].some((name) => !name.startsWith("__"));
  const dark = theme === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
  opening.classList.toggle("mo-link", link);
  opening.classList.toggle("dark", dark);
  const shown = (name) => !link && opening.querySelector(name);
  const awaited = [".mp-toggle"];
  if (shown(".mo-lines")) awaited.push("#panel-accuracy .main-svg");
  if (shown(".mo-cells")) awaited.push("#panel-interference .main-svg");
  const there = () => awaited.every((name) => document.querySelector(`gradio-app ${name}`));
  const leave = () => {
    observer.disconnect();
    clearTimeout(longest);
    opening.classList.add("mo-gone");
    setTimeout(() => opening.remove(), 200);
  };
  const observer = new MutationObserver(() => there() && leave());
  const longest = setTimeout(leave, LONGEST);
  observer.observe(document.documentElement, { childList: true, subtree: true });
})();
