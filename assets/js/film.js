/* A figure over time: a slider through the moments that came with it, and a button that plays them. No server is asked. */
(() => {
  const MergeScope = (window.MergeScope ||= {});
  const TICK = 350; // milliseconds between moments while playing

  class Film {
    constructor(panel) {
      this.panel = panel;
      this.box = panel.root.querySelector(".ms-film");
      this.name = null;
      this.build();
    }

    build() {
      this.play = Object.assign(document.createElement("button"), { type: "button" });
      this.play.addEventListener("click", () => (this.timer ? this.stop() : this.start()));
      this.slider = Object.assign(document.createElement("input"), { type: "range", min: 0, step: 1 });
      this.slider.addEventListener("input", () => {
        this.stop();
        this.go(Number(this.slider.value));
      });
      this.slider.addEventListener("change", () => this.tell());
      this.words = document.createElement("output");
      this.box?.replaceChildren(this.play, this.slider, this.words);
      this.stop();
    }

    /* Take the moments of a new figure: stay at the moment that is looked at, or at the last one while it grows. */
    take(film) {
      const before = this.film;
      if (!before) this.name = this.kept() ?? this.name;
      const last = before ? this.name === before.names.at(-1) : !this.kept();
      this.film = film || null;
      if (!film) this.stop();
      if (this.box) this.box.hidden = !film;
      if (!film) return;
      const found = film.names.indexOf(this.name);
      this.at = (last && !this.timer) || found < 0 ? film.names.length - 1 : found;
      this.write();
    }

    /* The moment that is in the address; the last one needs no word. */
    kept() {
      return MergeScope.views.of(this.key);
    }

    tell() {
      MergeScope.views.tell(this.key, this.name, this.film.names.at(-1));
    }

    get key() {
      return `${this.panel.name}-at`;
    }

    /* Go to the moment of an address that was opened; returns whether it is another one. */
    restore() {
      if (!this.film) return false;
      const wanted = this.film.names.includes(this.kept()) ? this.kept() : this.film.names.at(-1);
      if (wanted === this.name) return false;
      this.stop();
      this.name = wanted;
      return true;
    }

    go(at) {
      this.at = at;
      this.write();
      this.panel.show();
    }

    write() {
      const { names, word } = this.film;
      this.name = names[this.at];
      this.slider.max = names.length - 1;
      this.slider.value = this.at;
      this.slider.setAttribute("aria-label", `${this.panel.props.title}: ${word}`);
      this.slider.setAttribute("aria-valuetext", `${word} ${this.name} of ${names.at(-1)}`);
      this.slider.style.setProperty("--at", `${(100 * this.at) / (names.length - 1)}%`);
      this.words.textContent = `${word} ${this.name} of ${names.at(-1)}`;
    }

    start() {
      this.timer = setInterval(() => {
        if (!this.panel.plot.isConnected || this.at >= this.film.names.length - 1) this.stop();
        else this.go(this.at + 1);
      }, TICK);
      this.label();
      this.go(this.at >= this.film.names.length - 1 ? 0 : this.at);
    }

    stop() {
      if (this.timer && this.film) this.tell();
      clearInterval(this.timer);
      this.timer = null;
      this.label();
    }

    label() {
      this.play.textContent = this.timer ? "Pause" : "Play";
    }

    get title() {
      return this.film?.titles[this.at];
    }

    get changes() {
      return this.film?.changes[this.at];
    }

    get narrow() {
      return this.film?.narrow[this.at];
    }
  }

  /* Put the word of its number into every cell of a heat map that brings words: {meta: {words}, z: bytes}. */
  function spell(trace) {
    const words = trace.meta?.words;
    if (!words) return;
    const rows = trace.z.bdata ? unpack(trace.z) : trace.z;
    trace.customdata = rows.map((row) => Array.from(row, (number) => words[number]));
  }

  function unpack({ bdata, shape }) {
    const [count, width] = shape.split(",").map(Number);
    const flat = Uint8Array.from(atob(bdata), (letter) => letter.charCodeAt(0));
    return Array.from({ length: count }, (_, i) => flat.subarray(i * width, (i + 1) * width));
  }

  Object.assign(MergeScope, { Film, spell });
})();
