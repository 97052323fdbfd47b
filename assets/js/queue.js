// What leaves for the server's queue keeps its order, and no answer is lost when the stream of answers closes.
//
// Gradio answers all queued requests over one stream, which the server ends once nothing is waiting. Requests that leave
// in the same moment may overtake each other, and one that the server receives after it decided to end the stream, but
// whose receipt arrives before that end, would wait for its answer until the next one: its receipt is held back until
// the stream has spoken of it or has ended. Receipts are handed on in order, as what Gradio shows follows theirs.
(() => {
  "use strict";
  if (window.MergeQueue) return;

  const PATIENCE = 3000; // milliseconds after which a receipt is handed on whatever the stream says
  const ID = /"event_id":\s*"(\w+)"/g;
  const send = window.fetch;
  let arrived = Promise.resolve();
  let handed = Promise.resolve();
  let stream = null;

  class Heard {
    ids = new Set();
    ended = false;
    waiting = new Set();

    tell() {
      for (const look of [...this.waiting]) look();
    }

    // Wait until the stream has spoken of a request, or ended.
    of(id) {
      return new Promise((done) => {
        const look = () => {
          if (!this.ended && !this.ids.has(id)) return;
          this.waiting.delete(look);
          setTimeout(done); // the end is told to Gradio first
        };
        this.waiting.add(look);
        setTimeout(() => this.waiting.delete(look) && done(), PATIENCE);
        look();
      });
    }

    async listen(body) {
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let tail = "";
      try {
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          tail += part.value;
          for (const found of tail.matchAll(ID)) this.ids.add(found[1]);
          tail = tail.slice(-80);
          this.tell();
        }
      } catch {
        // a stream that breaks has ended
      }
      this.end();
    }

    end() {
      this.ended = true;
      this.tell();
    }
  }

  const open = async (...request) => {
    const heard = (stream = new Heard());
    try {
      const answer = await send(...request);
      if (answer.ok && answer.body) {
        const [body, copy] = answer.body.tee();
        heard.listen(copy);
        return new Response(body, answer);
      }
      heard.end();
      return answer;
    } catch (failure) {
      heard.end();
      throw failure;
    }
  };

  const join = async (...request) => {
    const leaving = arrived.then(() => send(...request));
    arrived = leaving.catch(() => {});
    const before = handed;
    let done;
    handed = new Promise((resolve) => (done = resolve));
    try {
      const answer = await leaving;
      const text = await answer.text();
      if (answer.ok && stream && !stream.ended) await stream.of(JSON.parse(text).event_id);
      await before;
      // Reading a body takes tasks of its own, and a later receipt could be read sooner.
      return Object.assign(new Response(text, answer), { json: async () => JSON.parse(text) });
    } finally {
      setTimeout(done);
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
