// What leaves for the server's queue keeps its order, and no answer is lost.
//
// Gradio answers all queued requests over one stream, which the server ends once nothing is waiting. A request that
// arrives around that end may lose its answer: Gradio takes the stream for open and starts no other, or aborts it while
// the server is still ending it, which drops whatever is queued for the visitor. Here Gradio reads one stream that does
// not end; the server's streams are read into it one after another, each to its end, and the next one begins when a
// request waits for an answer. What the visitor does leaves one act after another, and whatever follows from an act
// leaves after it; an answer is handed on after the receipt of its request. A full queue is asked again. Where words of
// a visitor bear a number, `mp-answered` tells the page when they are answered.
(() => {
  "use strict";
  if (window.MergeQueue) return;

  const HEAD = /^data: \{"msg":"(\w+)"(?:,"event_id":"(\w+)")?/;
  const bytes = new TextEncoder();
  const send = window.fetch;
  const FULL = 503;
  const AGAIN = 400; // milliseconds before a full queue is asked again
  const unanswered = new Map(); // requests whose receipt Gradio has and whose answer it has not, with their numbers
  let leaving = 0;
  let turn = Promise.resolve();
  let look = () => {};
  let answers = null;

  class Answers {
    reading = false;

    constructor(request) {
      this.request = request;
      this.body = new ReadableStream({ start: (out) => (this.out = out) });
    }

    async begin() {
      this.reading = true;
      const answer = await send(...this.request);
      if (answer.ok) this.follow(answer.body);
      return answer;
    }

    // Read one stream of the server; only one that it ended because nothing was waiting may be followed by another.
    async follow(body) {
      let ended = false;
      let tail = "";
      try {
        const reader = body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          const messages = (tail + part.value).split("\n\n");
          tail = messages.pop();
          for (const message of messages) ended = (await this.hand(message)) || ended;
        }
        if (!ended) this.out.close();
      } catch (failure) {
        this.out.error(failure);
      }
      this.reading = false;
      if (!ended && answers === this) answers = null;
      this.resume();
    }

    async hand(message) {
      const [, kind, id] = HEAD.exec(message) ?? [];
      if (kind === "close_stream") return true;
      while (id && leaving && !unanswered.has(id)) await new Promise((done) => (look = done));
      this.out.enqueue(bytes.encode(`${message}\n\n`));
      if (kind === "process_completed") tell(id);
      return false;
    }

    async resume() {
      if (answers !== this || this.reading || !unanswered.size) return;
      try {
        const answer = await this.begin();
        if (!answer.ok) throw new Error(answer.statusText);
      } catch (failure) {
        this.out.error(failure);
        answers = null;
      }
    }
  }

  const open = async (...request) => {
    answers = new Answers(request);
    const mine = answers;
    let begun = false;
    try {
      const answer = await mine.begin();
      begun = answer.ok;
      return begun ? new Response(mine.body, answer) : answer;
    } finally {
      if (!begun && answers === mine) answers = null;
    }
  };

  const tell = (id) => {
    const number = unanswered.get(id);
    unanswered.delete(id);
    if (number) dispatchEvent(new CustomEvent("mp-answered", { detail: number }));
  };

  const asked = async (request) => {
    for (;;) {
      const answer = await send(...request);
      if (answer.status !== FULL) return answer;
      await new Promise((later) => setTimeout(later, AGAIN));
    }
  };

  const join = async (...request) => {
    const before = turn;
    const said = JSON.parse(request[1].body).event_data ?? {}; // what follows from an answer brings no words
    let id;
    let done = () => {};
    if (Object.keys(said).length) turn = new Promise((resolve) => (done = resolve));
    leaving += 1;
    await before;
    try {
      const answer = await asked(request);
      const text = await answer.text();
      if (answer.ok) id = JSON.parse(text).event_id;
      // Reading a body takes tasks of its own, and a later receipt could be read sooner.
      return Object.assign(new Response(text, answer), { json: async () => JSON.parse(text) });
    } finally {
      setTimeout(() => {
        leaving -= 1;
        if (id) unanswered.set(id, said.number);
        look();
        done();
        answers?.resume();
      });
    }
  };

  window.fetch = (...request) => {
    const address = String(request[0]?.url ?? request[0]);
    if (address.includes("/queue/join")) return join(...request);
    if (address.includes("/queue/data")) return open(...request);
    return send(...request);
  };
  window.MergeQueue = true;
})();
