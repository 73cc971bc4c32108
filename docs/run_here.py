"""Cells that run in the reader's browser: what the book's pages need for that, and what they may do.

Without Pyodide (`make site` brings it, where there is npm) the book is built without buttons.
"""

import base64
import hashlib
import json
import re
from pathlib import Path

import browser_runtime
import nbformat

from chatroom_lib.browser.dependencies import what_they_need
from chatroom_lib.browser.try_it import scenarios, starts

FOLDER = "_static/browser"
SCRIPTS = "python.js", "shown.js", "editing.js"
CELLS, TRY = ("cells.js",), ("steps.js", "link.js", "try.js")  # of chapters, and of the page "Try it"
TRY_PAGE = "docs/try"
KERNEL = "needs-kernel"  # tag of a cell that tells something else in a browser, though no name in it says so
POLICY = (  # of each page; a web worker with a `data:` address has the same, and for it nothing is 'self'
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {scripts}; worker-src data:; connect-src 'none'; "
    "object-src 'none'; frame-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; form-action 'self'; base-uri 'none'"
)


def prepare(app) -> None:
    """Before the first page: write the file with Python."""
    app.run_here = None
    if app.builder.name == "html" and browser_runtime.is_there():
        app.run_here = browser_runtime.write(Path(app.outdir) / FOLDER)


def add_scripts(app, page: str, _template, context: dict, _doctree) -> None:
    """To a chapter, its cells as data and what runs them; to the page "Try it", what can be chosen there."""
    notebook = Path(app.srcdir) / f"{page}.ipynb"
    if not app.run_here or not (notebook.is_file() or page == TRY_PAGE):
        return
    about = {f"data-{name}": value for name, value in app.run_here.items()}
    for script in (*SCRIPTS, *(TRY if page == TRY_PAGE else CELLS)):
        app.add_js_file(f"browser/{script}", loading_method="defer", **(about if script == "python.js" else {}))
    app.add_css_file(f"browser/{'try' if page == TRY_PAGE else 'browser'}.css")
    if page == TRY_PAGE:
        context["body"] += data("try-choices", {"starts": starts(), "scenarios": scenarios()})
    else:
        context["body"] += data("cells-of-this-page", cells_of(notebook))


def data(name: str, value: object) -> str:
    """An element that holds this for scripts."""
    text = json.dumps(value).replace("<", r"\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def cells_of(notebook: Path) -> list[dict]:
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    codes = [cell.source for cell in cells]
    tagged = [index for index, cell in enumerate(cells) if KERNEL in cell.metadata.get("tags", ())]
    return [{"code": code, "needs": needs} for code, needs in zip(codes, what_they_need(codes, tagged), strict=True)]


def set_policy(app, error: Exception | None) -> None:
    """At the end: let each page run its own scripts, and load nothing from elsewhere."""
    if error or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        inline = re.findall(r"<script(?:\s+data-cfasync=\"false\")?>(.*?)</script>", text, re.DOTALL)
        hashes = " ".join(f"'sha256-{sha256(script)}'" for script in dict.fromkeys(inline))
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(scripts=hashes)}">'
        page.write_text(re.sub(r"(<meta charset=\"utf-8\" ?/?>)", rf"\1\n{policy}", text, count=1), encoding="utf-8")


def sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def setup(app) -> None:
    app.connect("builder-inited", prepare)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", set_policy)
