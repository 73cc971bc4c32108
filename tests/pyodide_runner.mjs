// node pyodide_runner.mjs PYODIDE FOLDER... : run the Python that comes on standard input, with these folders to import from.
import { readFileSync } from "node:fs";
const [pyodide, ...folders] = process.argv.slice(2);
const { loadPyodide } = await import(`${pyodide}/pyodide.mjs`);
const python = await loadPyodide({ env: { PYTHONHASHSEED: "0" } });
folders.forEach((folder, index) => {
  python.FS.mkdirTree(`/folder${index}`);
  python.FS.mount(python.FS.filesystems.NODEFS, { root: folder }, `/folder${index}`);
});
python.globals.set("folders", python.toPy(folders.map((_, index) => `/folder${index}`)));
python.runPython("import sys; sys.path[:0] = folders");
await python.runPythonAsync(readFileSync(0, "utf8"));
