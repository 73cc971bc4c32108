// In a web worker: Python, which answers one question after the other. browser_runtime.py puts Pyodide before this.
// It has no network: whatever Pyodide would fetch is among the parts that the page hands over.

const NOWHERE = "http://pyodide.invalid/"; // never asked
const LOCK = JSON.stringify({ info: PYODIDE_INFO, packages: {} }); // no package is loaded from anywhere
let python;

async function start({ wasm, stdlib, library }) {
  const files = { "pyodide.asm.wasm": [wasm, "application/wasm"], "python_stdlib.zip": [stdlib, "application/zip"] };
  self.fetch = async request => {
    const [bytes, type] = files[String(request.url ?? request).split("/").pop()];
    return new Response(bytes, { headers: { "Content-Type": type } });
  };
  python = await loadPyodide({
    indexURL: NOWHERE,
    lockFileContents: LOCK,
    createPyodideModule: _createPyodideModule,
    env: { HOME: "/home/pyodide", PYTHONHASHSEED: "0" }, // so that sets of texts have one order
  });
  python.FS.writeFile("/library.zip", new Uint8Array(library));
  python.runPython("import sys; sys.path.insert(0, '/library.zip')");
  python.setStdout({ batched: () => {} }); // what a cell prints is a part of its answer
  python.setStderr({ batched: () => {} });
}

async function answer(question, values) {
  const ask = python.pyimport("chatroom_lib.browser.questions").ask;
  return JSON.parse(await ask(question, JSON.stringify(values)));
}

self.onmessage = async ({ data: { id, parts, question, values } }) => {
  try {
    postMessage({ id, answer: parts ? await start(parts) : await answer(question, values) });
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error) });
  }
};
