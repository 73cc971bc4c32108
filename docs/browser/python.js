// Python in the reader's browser: `await Python.ask("run", {...})`. It is loaded on the first question.
"use strict";
const Python = (() => {
  const here = document.currentScript.dataset; // runtime: the address of the file with Python; integrity: its hash
  const base = new URL(".", document.currentScript.src);
  const asked = new Map(); // id -> what to do with the answer
  let starting = null, worker = null, last = 0;
  let stops = 0; // so that what is still loading when somebody presses Stop does not start afterwards

  class Stopped extends Error {}

  // From a disk no hash can be compared: a page has no right to look into other files there.
  const loadRuntime = () => new Promise((resolve, reject) => {
    if (window.ChatroomRuntime) return resolve(window.ChatroomRuntime);
    const script = document.createElement("script");
    script.src = new URL(here.runtime, base);
    if (location.protocol !== "file:") Object.assign(script, { integrity: here.integrity, crossOrigin: "anonymous" });
    script.onload = () => resolve(window.ChatroomRuntime);
    script.onerror = () => reject(new Error(`Python could not be loaded: there is no ${here.runtime}, or it is another one.`));
    document.head.append(script);
  });

  async function bytes(text) { // of gzip in base64
    const packed = Uint8Array.from(atob(text), character => character.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  function send(message, transfer = []) {
    const to = worker;
    return new Promise((resolve, reject) => {
      asked.set(++last, { resolve, reject });
      to.postMessage({ id: last, ...message }, transfer);
    });
  }

  async function start() {
    const since = stops;
    const runtime = await loadRuntime();
    const [source, wasm, stdlib, library] = await Promise.all(
      [runtime.worker, runtime.wasm, runtime.stdlib, runtime.library].map(bytes));
    if (since !== stops) throw new Stopped("Stopped.");
    // A `data:` address: what runs there has no part in this page, and works from a disk, too.
    const address = "data:text/javascript;charset=utf-8," + encodeURIComponent(new TextDecoder().decode(source));
    worker = new Worker(address, { type: "module" });
    worker.onmessage = ({ data: { id, answer, error } }) => {
      const waiting = asked.get(id);
      asked.delete(id);
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(error));
    };
    worker.onerror = event => stop(event.message || "Python has ended.");
    await send({ parts: { wasm, stdlib, library } }, [wasm, stdlib, library]);
  }

  async function ask(question, values = {}) {
    const mine = starting ??= start();
    try {
      await mine;
    } catch (error) {
      if (starting === mine) starting = null; // the next question tries again
      throw error;
    }
    return send({ question, values });
  }

  // End Python, whatever it does: also a room that never yields. The next question starts it anew.
  function stop(why = "Stopped.") {
    worker?.terminate();
    worker = starting = null;
    stops += 1;
    for (const { reject } of asked.values()) reject(new Stopped(why));
    asked.clear();
    document.dispatchEvent(new Event("python-ended"));
  }

  return { ask, stop, Stopped, size: here.size, get isRunning() { return worker !== null; } };
})();
