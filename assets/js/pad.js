// A sheet to draw on. Strokes stay here; a moment after the pen is lifted the picture goes to Python, as small as the suite's.
(() => {
  "use strict";
  if (window.MergePad) return;

  const SHARP = 8; // pixels of the sheet for one of the picture
  const PAUSE = 250; // milliseconds between lifting the pen and sending
  const LARGEST = 1 << 20; // bytes of a file

  class Pad {
    constructor(element, props, trigger, watch) {
      Object.assign(this, { props, trigger, strokes: [], told: {}, stamp: 0, timer: 0, side: 32 });
      const find = (name) => element.querySelector(name);
      this.root = find(".mp-pad");
      this.sheet = find("canvas");
      this.ink = this.sheet.getContext("2d", { willReadFrequently: true });
      this.parts = { absent: find(".mp-pad-absent"), frame: find(".mp-pad-frame"), look: find("[data-look]"), pen: find("[data-pen]"),
        task: find("[data-task]"), fit: find("[data-fit]"), file: find("input[type=file]"), said: find(".mp-pad-said") };
      this.pointer();
      this.tools();
      this.files(element);
      watch(["value"], () => this.read());
      this.read();
      if (!this.told.suite) trigger("bare", {});
    }

    read() {
      const told = JSON.parse(this.props.value || "{}");
      if (!told.suite) return;
      const { absent, look, pen, task, said } = this.parts;
      this.root.toggleAttribute("data-absent", Boolean(told.absent));
      absent.hidden = !told.absent;
      absent.textContent = told.absent || "";
      if (told.absent) return void (this.told = told);
      said.textContent = told.said;
      said.toggleAttribute("data-bad", told.bad);
      const fresh = told.suite !== this.told.suite;
      this.told = told;
      this.side = told.side;
      if (fresh) {
        look.replaceChildren(...told.looks.map((l, i) => new Option(l.words, i)));
        task.replaceChildren(...told.tasks.map((name) => new Option(name, name)));
        this.sheet.width = this.sheet.height = SHARP * told.side;
        this.dress();
        if (this.strokes.length) this.later();
      }
      if (told.stamp && told.stamp !== this.stamp) this.put(told);
    }

    /* Pen and frame as the pictures of a task have them; the pen may then be changed. */
    dress() {
      const { frame, pen } = this.parts;
      pen.value = Math.round(64 * this.look().pen) / 2;
      frame.style.setProperty("--frame", `${100 * this.look().frame}%`);
      frame.dataset.paper = this.look().paper;
      this.draw();
    }

    look() {
      return this.told.looks[this.parts.look.value || 0];
    }

    pointer() {
      const at = (event) => {
        const box = this.sheet.getBoundingClientRect();
        return [((event.clientX - box.left) / box.width) * this.side, ((event.clientY - box.top) / box.height) * this.side];
      };
      this.sheet.addEventListener("pointerdown", (event) => {
        if (event.button || !event.isPrimary || !this.told.looks) return;
        event.preventDefault();
        clearTimeout(this.timer);
        this.sheet.setPointerCapture(event.pointerId);
        this.stroke = { points: [at(event)], pen: (this.parts.pen.value * this.side) / 32 };
        this.strokes.push(this.stroke);
        this.draw();
      });
      this.sheet.addEventListener("pointermove", (event) => {
        if (!this.stroke || !event.isPrimary) return;
        const between = event.getCoalescedEvents?.() ?? [];
        this.stroke.points.push(...(between.length ? between : [event]).map(at));
        this.draw();
      });
      for (const name of ["pointerup", "pointercancel"])
        this.sheet.addEventListener(name, (event) => {
          if (!this.stroke || !event.isPrimary) return;
          this.stroke = null;
          this.later();
        });
    }

    tools() {
      const acts = {
        undo: () => this.strokes.pop(),
        clear: () => this.strokes.length && !this.strokes.at(-1).clear && this.strokes.push({ clear: true }),
        example: () => void this.trigger("picture", { example: this.parts.task.value }),
      };
      this.root.addEventListener("click", (event) => {
        const button = event.target.closest("button[data-pad]");
        if (!button) return;
        clearTimeout(this.timer);
        if (!acts[button.dataset.pad]()) return;
        this.draw();
        this.later();
      });
      this.parts.look.addEventListener("change", () => {
        this.dress();
        if (this.seen().length) this.later();
      });
    }

    files(element) {
      const { file } = this.parts;
      file.addEventListener("change", () => {
        this.upload(file.files[0]);
        file.value = "";
      });
      this.sheet.addEventListener("dragover", (event) => event.preventDefault());
      this.sheet.addEventListener("drop", (event) => {
        event.preventDefault();
        this.upload(event.dataTransfer.files[0]);
      });
      const paste = (event) => {
        if (!element.isConnected) return document.removeEventListener("paste", paste);
        const found = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
        if (found && this.sheet.offsetParent) this.upload(found);
      };
      document.addEventListener("paste", paste);
    }

    upload(file) {
      if (!file) return;
      if (file.size > LARGEST) return this.say(`The file has ${(file.size / LARGEST).toFixed(1)} MB; choose one of at most 1 MB.`, true);
      const reader = new FileReader();
      reader.onload = () => {
        const data = `data:;base64,${String(reader.result).split(",")[1] ?? ""}`;
        this.trigger("picture", { data, fit: this.parts.fit.value, paper: this.look().paper });
      };
      reader.onerror = () => this.say("The file could not be read; choose it again.", true);
      reader.readAsDataURL(file);
    }

    say(words, bad = false) {
      this.parts.said.textContent = words;
      this.parts.said.toggleAttribute("data-bad", bad);
    }

    /* A picture from Python is drawn on the sheet as it is: the visitor sees what the models see, and may draw on it. */
    put({ picture, stamp }) {
      this.stamp = stamp;
      const image = new Image();
      image.onload = () => {
        if (this.stamp !== stamp) return;
        this.strokes.push({ image });
        this.draw();
      };
      image.src = picture;
    }

    /* What lies on the sheet: nothing below the last clearing or the last picture can be seen. */
    seen() {
      const last = this.strokes.findLastIndex((s) => s.clear || s.image);
      return this.strokes.slice(Math.max(0, last)).filter((s) => !s.clear);
    }

    draw() {
      const { ink: c, sheet } = this;
      const grey = (level) => `rgb(${level},${level},${level})`;
      c.fillStyle = grey(this.look().paper);
      c.fillRect(0, 0, sheet.width, sheet.height);
      c.strokeStyle = c.fillStyle = grey(this.look().ink);
      c.lineCap = c.lineJoin = "round";
      c.imageSmoothingEnabled = false;
      for (const { image, points, pen } of this.seen()) {
        if (image) {
          c.drawImage(image, 0, 0, sheet.width, sheet.height);
          continue;
        }
        c.lineWidth = pen * SHARP;
        c.beginPath();
        c.moveTo(...points[0].map((v) => v * SHARP));
        for (const point of points.length > 1 ? points.slice(1) : points) c.lineTo(...point.map((v) => v * SHARP));
        c.stroke();
      }
      this.parts.frame.hidden = this.seen().some((s) => s.image);
    }

    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.send(), PAUSE);
    }

    send() {
      const data = this.seen().length ? this.small() : "";
      this.trigger("picture", { data, drawn: true, paper: this.look().paper });
    }

    /* The mean of every SHARP x SHARP square is one pixel, as PNG. */
    small() {
      const { side } = this;
      const wide = this.ink.getImageData(0, 0, side * SHARP, side * SHARP).data;
      const sheet = Object.assign(document.createElement("canvas"), { width: side, height: side });
      const context = sheet.getContext("2d");
      const made = context.createImageData(side, side);
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          for (let channel = 0; channel < 4; channel++) {
            let sum = 0;
            for (let dy = 0; dy < SHARP; dy++)
              for (let dx = 0; dx < SHARP; dx++)
                sum += wide[4 * ((y * SHARP + dy) * side * SHARP + x * SHARP + dx) + channel];
            made.data[4 * (y * side + x) + channel] = Math.round(sum / SHARP ** 2);
          }
      context.putImageData(made, 0, 0);
      return sheet.toDataURL("image/png");
    }
  }

  window.MergePad = { mount: (...given) => new Pad(...given) };
})();
