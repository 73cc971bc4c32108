"""The book: README.md, the chapters as they are committed, the benchmark, and the source files they link to.

Sphinx reads the whole repository (`make site`), so a link that works there works in the book.
"""

import re
import sys
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parent))
import reference

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = "notebooks/[0-9][0-9]_*"
APPENDICES = "notebooks/[A-Z]_*"
CONTENTS = f"""
```{{toctree}}
:hidden:
:glob:
:caption: Chapters
{CHAPTERS}
```
```{{toctree}}
:hidden:
:glob:
:caption: Appendices
{APPENDICES}
```
```{{toctree}}
:hidden:
:caption: To try and to look up
docs/try
docs/failures
docs/your_room
docs/any_server
docs/servers
docs/glossary
docs/api
benchmarks/README
CONTRIBUTING
```
"""
SOURCE = """---
orphan: true
---
# `{path}`
```{{literalinclude}} /{path}
:language: {language}
```
"""

project = html_title = "chatroom_lib"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "run_here"]
root_doc = "README"
LANGUAGES = {".py": "python", ".js": "javascript", ".go": "go"}  # of source files
source_suffix = dict.fromkeys([".md", ".ipynb", *LANGUAGES], "myst-nb")
include_patterns = [
    "README.md",
    f"{CHAPTERS}.ipynb",
    f"{APPENDICES}.ipynb",
    "benchmarks/README.md",
    "CONTRIBUTING.md",
    "docs/*.md",
]
include_patterns += ["chatroom_lib/**.py", "notebooks/**.py", "tools/**.py", "docs/browser_runtime.py"]
include_patterns += ["chatroom_lib/reference_servers/*"]
exclude_patterns = [".*", "**/.*", "build", "dist", "node_modules", "tests"]
smartquotes = False
highlight_language = "text"
myst_heading_anchors = 4

default_role = "literal"  # in docstrings
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 84
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
linkcode_resolve = reference.linkcode_resolve

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Made your prediction? Show what happens"  # cells with the tag hide-output: predictions
nb_code_prompt_hide = "Hide it again"
nb_ipywidgets_js = {}  # they would come from elsewhere, and panels have transcripts:
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

html_theme = "sphinx_book_theme"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "navbar_persistent": [],  # one field to search is enough
    "footer_content_items": [],
}
html_static_path = ["static"]
html_css_files = ["book.css"]
html_extra_path = ["index.html"]
html_copy_source = html_use_index = False
html_show_search_summary = False  # it is fetched, which a page opened from a disk may not do


def read(_app, docname: str, source: list[str]) -> None:
    """Show source files as pages, make anchors targets, let links to folders and LICENSE work, add the contents."""
    if path := next(filter(Path.exists, (ROOT / f"{docname}{suffix}" for suffix in LANGUAGES)), None):
        source[0] = SOURCE.format(path=f"{docname}{path.suffix}", language=LANGUAGES[path.suffix])
        if path.name == "__init__.py":
            others = sorted(other.name for other in path.parent.glob("*.py") if other != path)
            source[0] += "\n".join(f"- [{name}]({name})" for name in others)
    elif docname.startswith("notebooks/"):
        source[0] = with_targets(source[0])
    elif docname.startswith("docs/"):
        source[0] = reference.fill_in(source[0])
    elif docname == "README":
        source[0] = source[0].replace("](LICENSE)", "](docs/license.md)") + CONTENTS
    source[0] = re.sub(r"\]\(((?:\.\./)?chatroom_lib/\w+)\)", r"](\1/__init__.py)", source[0])


def with_targets(notebook: str) -> str:
    """The JSON of a notebook, with a target, to which links may lead, for each anchor that is no heading's own."""
    headings = {nodes.make_id(title) for title in re.findall(r'"#+ (.+?)(?:\\n)?"', notebook)}
    anchors = re.compile(r'<a id=\\"([a-z0-9-]+)\\"></a>')
    return anchors.sub(lambda found: "" if found[1] in headings else f"({found[1]})=", notebook)


def describe_figures(_app, doctree) -> None:
    """Let the caption that a chapter puts below a figure be its text for those who cannot see it."""
    figures = []
    for node in doctree.findall(lambda node: isinstance(node, nodes.image | nodes.paragraph)):
        if isinstance(node, nodes.image):
            node.setdefault("alt", "a figure")
            figures.append(node)
        else:
            caption = node.next_node(nodes.emphasis)
            for figure in figures if caption and node[0] is caption else []:
                figure["alt"] = caption.astext()
            figures = []


def polish(_app, _page, _template, context: dict, _doctree) -> None:
    """Give claims, "✓ Cy misses nothing" on a line of its own, a style; let a fold be read out by what it says."""
    body = context.get("body", "").replace('<summary aria-label="Toggle hidden content">', "<summary>")
    context["body"] = re.sub(r"^(<.*<pre><span></span>)?(✓ .*)$", r'\1<span class="claim">\2</span>', body, flags=re.M)


def setup(app) -> None:
    app.connect("source-read", read)
    app.connect("doctree-read", describe_figures)
    app.connect("html-page-context", polish)
    app.connect("autodoc-process-docstring", reference.describe)
    app.connect("autodoc-process-signature", reference.shorten)
    app.connect("autodoc-skip-member", reference.leave_out)
