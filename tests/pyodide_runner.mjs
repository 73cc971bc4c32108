// node pyodide_runner.mjs PYODIDE ARCHIVE: run the Python on standard input, which may import from that archive.
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
const [pyodide, archive] = process.argv.slice(2);
const { loadPyodide } = await import(`${pyodide}/pyodide.mjs`);
const python = await loadPyodide({ env: { PYTHONHASHSEED: "0" } });
python.FS.writeFile("/library.zip", readFileSync(archive));
python.runPython("import sys; sys.path.insert(0, '/library.zip')");
await python.runPythonAsync(await text(process.stdin));
