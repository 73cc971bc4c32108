"""The file with Python for the reader's browser: Pyodide, the libraries and this package, as one script.

One script, since a page that was opened from a disk may load scripts there, and nothing else. It holds DOMPurify, and
four parts, each compressed and in base64: the source of the web worker, Pyodide's WebAssembly, Python's standard
library, and an archive with what `chatroom_lib` needs. Pyodide (MPL-2.0) is as npm has it, but for two changes in
pyodide.asm.mjs and pyodide.mjs, since a worker that is one module can import no other: their `export` is left out, and
`import.meta.url` is a fixed address.
"""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NPM = ROOT / "build/npm/node_modules"
LIBRARIES = "websockets", "rich", "pygments", "markdown-it-py", "mdurl", "cloudpickle"
IF_INSTALLED = ("nats-py",)  # for v9.1 in a simulation
UNUSED = re.compile(
    r"nats/micro/|websockets/(legacy|sync|trio)/|pygments/lexers/(?!__init__|_mapping|python|diff|special)"
)
OF_OUR_OWN = (
    *("chatroom_lib/**/*.py", "chatroom_lib/server/chat.html", "notebooks/*.py", "notebooks/exercises/*.py"),
    *("LICENSE", "NOTICE"),
)
NOT_THERE = re.compile("chatroom_lib/(bench/servers|reference_servers)/")


def is_there() -> bool:
    return (NPM / "pyodide/package.json").is_file() and (NPM / "dompurify/package.json").is_file()


def write(folder: Path) -> dict[str, str]:
    """Put the runtime and the scripts of the pages into `folder`. Returns what python.js wants to know about it."""
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
    folder.mkdir(parents=True)
    pyodide = NPM / "pyodide"
    parts = {
        "worker": worker(pyodide).encode(),
        "wasm": (pyodide / "pyodide.asm.wasm").read_bytes(),
        "stdlib": (pyodide / "python_stdlib.zip").read_bytes(),
        "library": library(),
    }
    texts = {name: base64.b64encode(gzip.compress(part, 9, mtime=0)).decode() for name, part in parts.items()}
    purify = (NPM / "dompurify/dist/purify.min.js").read_text().replace("//# sourceMappingURL=purify.min.js.map", "")
    script = f"{purify}\nwindow.ChatroomRuntime = {json.dumps(texts)};\n".encode()
    digest = hashlib.sha384(script).digest()
    name = f"runtime.{digest.hex()[:12]}.js"
    (folder / name).write_bytes(script)
    for each in (ROOT / "docs/browser").iterdir():
        if each.name != "worker.js":
            (folder / each.name).write_bytes(each.read_bytes())
    size = sum(len(text) for text in texts.values()) * 3 / 4 / 1e6
    return {
        "runtime": name,
        "integrity": f"sha384-{base64.b64encode(digest).decode()}",
        "size": f"{size:.0f} MB",
    }


def worker(pyodide: Path) -> str:
    """The source of the web worker: Pyodide's two modules, and ours."""
    loader = without_exports((pyodide / "pyodide.mjs").read_text(), r"export\{(\w+) as loadPyodide,\w+ as version\};")
    module = without_exports((pyodide / "pyodide.asm.mjs").read_text(), r"export default (_createPyodideModule);")
    info = json.loads((pyodide / "pyodide-lock.json").read_text())["info"]
    glue = f"const loadPyodide = {loader[1]};", f"const PYODIDE_INFO = {json.dumps(info)};"
    return "\n".join([loader[0], module[0], *glue, (ROOT / "docs/browser/worker.js").read_text()])


def without_exports(source: str, pattern: str) -> tuple[str, str]:
    """The source, and the name in it of what it exports. Raises ValueError for a Pyodide that is built otherwise."""
    source = re.sub(r"//# sourceMappingURL.*", "", source).replace("import.meta.url", '"http://pyodide.invalid/"')
    found = re.search(pattern, source)
    if not found:
        raise ValueError(f"this Pyodide is not built as the one we know: nothing in it matches {pattern}")
    return source.replace(found[0], ""), found[1]


def library() -> bytes:
    """A zip archive, the same for the same files. It is not compressed, since the whole is."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in sorted(files()):
            file.writestr(zipfile.ZipInfo(name), data)
    return archive.getvalue()


def files() -> Iterator[tuple[str, bytes]]:
    """(where in the archive, what)."""
    for pattern in OF_OUR_OWN:
        for path in ROOT.glob(pattern):
            name = path.relative_to(ROOT).as_posix()
            if not NOT_THERE.match(name):
                yield name.removeprefix("notebooks/"), path.read_bytes()
    for library in (*map(distribution, LIBRARIES), *installed(IF_INSTALLED)):
        yield from files_of(library)


def installed(names: Iterable[str]) -> Iterator[Distribution]:
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            yield distribution(name)


def files_of(library: Distribution) -> Iterator[tuple[str, bytes]]:
    """The Python of a library, and its licence."""
    for path in library.files or ():
        wanted = path.suffix == ".py" or "LICENSE" in path.name or path.name == "METADATA"
        if wanted and not path.is_absolute() and ".." not in path.parts and not UNUSED.match(path.as_posix()):
            yield path.as_posix(), Path(path.locate()).read_bytes()
