"""The book that `make site` builds: everything is there, every link leads somewhere, and nothing leads out."""

import html
import inspect
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

import chatroom_lib
from chatroom_lib import Client, Event, Scenario, Trace, Use, bench, plots, rooms
from chatroom_lib.checker.guarantees import GUARANTEES
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.trace import Wait
from tests.helpers import TIMEOUT_FACTOR, code_cells

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9A-Z]*_*.ipynb"))
DRAWN = [chapter for chapter in CHAPTERS if chapter.name.startswith("0")]  # the others may do without figures
SOURCES = [path for folder in ("chatroom_lib", "notebooks", "tools") for path in (ROOT / folder).rglob("[!.]*.py")]
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
pytestmark = [  # the book is built once, for all of them; on a busy machine that takes minutes
    *(pytest.mark.slow, pytest.mark.xdist_group("site"), pytest.mark.timeout(300 * TIMEOUT_FACTOR)),
]
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


class Page(HTMLParser):
    """What is on a page: its ids, what it loads, what it links to, its images, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.ids, self.loads, self.links, self.images, self.texts = path, {"top"}, [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = "".join(self.texts)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.update(value for name, value in attributes.items() if name in ("id", "name") and value)
        if attributes.get(LOADING.get(tag)):
            self.loads.append(attributes[LOADING[tag]])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes)

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def outputs(chapter: Path, kind: str) -> list[str]:
    cells = code_cells(chapter)
    return [data[kind] for cell in cells for output in cell.outputs if kind in (data := output.get("data", {}))]


def words(page: str) -> str:
    """The text between the tags, and no white space."""
    return "".join(html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", "", page, flags=re.DOTALL)).split())


@each_chapter
def test_a_chapter_has_its_figures_and_its_panels(chapter, site, pages):
    page = pages[site / "notebooks" / f"{chapter.stem}.html"]
    figures = [image for image in page.images if "_images" in image["src"]]
    assert len(figures) == len(outputs(chapter, "image/png"))
    assert figures or chapter not in DRAWN
    assert all((page.path.parent / figure["src"]).is_file() for figure in figures)
    assert all(figure["alt"] and not figure["alt"].endswith(".png") for figure in figures)
    shown = "".join(page.text.split())
    for output in outputs(chapter, "text/html"):
        assert words(output) in shown
    assert "<Figure size" not in page.text and "application/vnd.jupyter" not in page.path.read_text()


@each_chapter
def test_a_caption_is_read_out_for_its_figure(chapter, site, pages):
    page = pages[site / "notebooks" / f"{chapter.stem}.html"]
    cells = nbformat.read(chapter, as_version=4).cells
    drawn = [any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])) for cell in cells]
    captions = [re.match(r"\*([^*]+)\*", after.source) for figure, after in zip(drawn, cells[1:]) if figure]
    captions = {"".join(caption[1].replace("`", "").split()) for caption in captions if caption}
    assert captions or chapter not in DRAWN
    assert captions <= {"".join(image["alt"].split()) for image in page.images}


def test_the_first_page_leads_to_every_chapter_and_to_the_results(site, pages):
    start = pages[site / "README.html"]
    wanted = {f"notebooks/{chapter.stem}.html" for chapter in CHAPTERS} | {"benchmarks/README.html"}
    to_look_up = ("failures", "your_room", "any_server", "servers", "glossary", "api")
    wanted |= {f"docs/{page}.html" for page in to_look_up} | {"CONTRIBUTING.html"}
    assert wanted <= set(start.links)
    index = (site / "index.html").read_text()
    assert 'url=README.html"' in index
    assert (site / re.search(r'"og:image" content="([^"]+)"', index)[1]).is_file()


def test_every_source_file_has_a_page(site, pages):
    for source in SOURCES:
        page = pages[(site / source.relative_to(ROOT)).with_suffix(".html")]
        assert "".join(source.read_text(encoding="utf-8").split()) in "".join(page.text.split()), source
        assert '<div class="highlight-python' in page.path.read_text(encoding="utf-8") or not source.stat().st_size


def public_names() -> list[str]:
    names = [f"chatroom_lib.{name}" for name in dir(chatroom_lib)]
    names = [name for name in names if not isinstance(resolve_name(name), ModuleType)]
    for module in (rooms, plots, bench):
        names += [f"{module.__name__}.{name}" for name in module.__all__]
    for kind in (Client, Scenario):
        names += [f"chatroom_lib.{kind.__name__}.{field.name}" for field in fields(kind)]
    return names


def plain(text: str) -> str:
    return re.sub(r"[\s`*]", "", text)


def test_the_reference_has_every_public_name(site, pages):
    missing = [name for name in public_names() if name not in pages[site / "docs/api.html"].ids]
    assert len(public_names()) > 80 and not missing, f"docs/api.md lacks {missing}"


def test_the_reference_says_what_each_guarantee_promises_and_what_happens_in_each_scenario(site, pages):
    shown = plain(pages[site / "docs/api.html"].text)
    for name, function in {**GUARANTEES, **SCENARIOS}.items():
        assert f"{plain(name)}#{plain(function.__doc__)}" in shown, name


@pytest.mark.parametrize("kind", [Client, Scenario, Trace, Event, Use, Wait], ids=lambda kind: kind.__name__)
def test_the_reference_has_the_comment_behind_each_field(kind, site, pages):
    shown = plain(pages[site / "docs/api.html"].text)
    comments = re.findall(r"^    (\w+): .*  # (.*)$", inspect.getsource(kind), flags=re.MULTILINE)
    internal = ("clock", "places", "indexed", "matched")
    missing = [name for name, comment in comments if plain(comment) not in shown and name not in internal]
    assert len(comments) > 0 and not missing


def test_the_glossary_gives_each_word_in_a_few_sentences_and_a_place_to_link_to(site, pages):
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    words = dict(re.findall(r"^### (.+)\n\n((?:.+\n)+)", text, flags=re.MULTILINE))
    assert len(words) > 40 and text.count("\n### ") == len(words)
    for word, meaning in words.items():
        assert re.sub(r"[^\w-]", "", word.replace(" ", "-")) in pages[site / "docs/glossary.html"].ids, word
        assert len(re.findall(r"\.(?:\s|$)", meaning)) <= 3 and len(meaning.split()) < 70, word


def test_each_failure_has_a_line_that_leads_to_its_place_in_a_chapter(site, pages):
    rows = re.findall(r"^- (\[.+?): ", (ROOT / "docs/failures.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    listed = [re.search(r"\(\.\./notebooks/(\w+)\.ipynb#([a-z0-9-]+)\)", row) for row in rows]
    listed = [(link[1], link[2]) for link in listed]
    marked = [
        (chapter.stem, name)
        for chapter in CHAPTERS
        for cell in nbformat.read(chapter, as_version=4).cells
        for name in re.findall(r'^<a id="([^"]+)"></a>$', cell.source, flags=re.MULTILINE)
    ]
    assert len(listed) > 5 and len(set(listed)) == len(listed) and sorted(listed) == sorted(marked)
    for chapter, name in listed:
        page = pages[site / "notebooks" / f"{chapter}.html"]
        assert name in page.ids, f"{page.path.name}#{name}"
        assert f"../notebooks/{chapter}.html#{name}" in pages[site / "docs/failures.html"].links


def test_a_claim_has_a_style_of_its_own(site):
    shown = [(site / "notebooks" / f"{chapter.stem}.html").read_text(encoding="utf-8") for chapter in CHAPTERS]
    claims = [text for page in shown for text in re.findall(r'<span class="claim">(✓ [^<]+)</span>$', page, flags=re.M)]
    printed = [
        line
        for chapter in CHAPTERS
        for cell in nbformat.read(chapter, as_version=4).cells
        for output in cell.get("outputs", [])
        for line in output.get("text", "").splitlines()
        if line.startswith("✓ ")
    ]
    assert claims and [html.unescape(claim) for claim in claims] == printed


def test_every_link_leads_somewhere(site, pages):
    for page in pages.values():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            assert target.is_file(), f"{page.path.relative_to(site)}: {link}"
            assert target.is_relative_to(site.resolve()), link
            if parts.fragment:
                assert unquote(parts.fragment) in pages[target].ids, f"{page.path.relative_to(site)}: {link}"


def test_links_of_the_repository_lead_to_pages(site, pages):
    """A link to code is no download; only the benchmark's data is."""
    downloads = {link for page in pages.values() for link in page.links if "_downloads" in link}
    assert {Path(link).name for link in downloads} == {"results.json"}


def test_no_page_loads_anything_from_elsewhere(site, pages):
    for page in pages.values():
        for load in page.loads:
            assert not urlsplit(load).netloc and urlsplit(load).scheme in ("", "data"), f"{page.path}: {load}"
    styles = [*site.rglob("*.css"), *pages]
    outside = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")
    assert len(styles) > len(pages) and not [path for path in styles if outside.search(path.read_text("utf-8"))]


def test_no_path_of_this_machine_is_told(site):
    secrets = re.compile("|".join(re.escape(f"{path}/") for path in (ROOT.resolve(), Path.home(), site.parent)))
    written = [path for path in site.rglob("*") if path.suffix in (".html", ".js", ".json")]
    for path in written:
        if path.parent.name != "scripts":  # the theme's own
            assert not secrets.search(path.read_text(encoding="utf-8")), path
    assert site / "searchindex.js" in written


@pytest.mark.real
@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_browser_asks_nobody_else(scheme, site, address, browser):
    base = site.as_uri() if scheme == "file" else address
    page = browser.new_page()
    try:
        asked, failed = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        names = ["index.html", "benchmarks/README.html", "chatroom_lib/rooms/v1.html", "search.html?q=outbox"]
        for name in [*names, *(f"notebooks/{chapter.stem}.html" for chapter in CHAPTERS)]:
            page.goto(f"{base}/{name}", wait_until="load")
            if name == "index.html":  # it leads on at once
                page.wait_for_url("**/README.html")
            if "search" in name:
                page.locator("#search-results a", has_text="The hub").first.wait_for()
        assert len(asked) > len(CHAPTERS) and not failed
        assert [url for url in asked if not url.startswith((base, "data:"))] == []
    finally:
        page.close()


def page_at(browser, base: str, name: str, width: int, **options):
    page = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
    page.goto(f"{base}/{name}", wait_until="load")
    return page


CUT = """selector => [...document.querySelectorAll(selector)].filter(e => e.offsetParent &&
    e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"""


@pytest.mark.real
def test_nothing_is_cut_on_a_desk_and_no_page_is_wider_than_a_phone(site, browser):
    """Each page is loaded at each width: a page that has just been resized may not have been laid out anew."""
    names = ["README", "CONTRIBUTING", "benchmarks/README", *(f"docs/{page.stem}" for page in ROOT.glob("docs/*.md"))]
    cut = {}
    for width, pieces in ((390, ".text_html:has(caption)"), (1300, ".bd-article :is(pre, .cell_output, .text_html)")):
        page = browser.new_page(viewport={"width": width, "height": 900})
        for name in [*names, *(f"notebooks/{chapter.stem}" for chapter in CHAPTERS)]:
            page.goto(f"{site.as_uri()}/{name}.html", wait_until="load")
            page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            if found := page.evaluate(CUT, pieces):
                cut[name, width] = found
        page.close()
    assert not cut


@pytest.mark.real
@each_chapter
def test_the_answer_to_a_prediction_is_folded_until_it_is_asked_for(chapter, site, browser):
    tagged = [c for c in nbformat.read(chapter, as_version=4).cells if "hide-output" in c.metadata.get("tags", [])]
    tagged = [cell for cell in tagged if cell.outputs]
    page = page_at(browser, site.as_uri(), f"notebooks/{chapter.stem}.html", 1300)
    try:
        assert page.locator("details.hide").count() == len(tagged)
        for ask in (click, press_enter, print_it) if tagged else ():
            answer_is_shown_after(ask, page)
    finally:
        page.context.close()


@pytest.mark.real
def test_the_answer_to_a_prediction_is_folded_without_javascript(site, browser):
    chapter = next(chapter for chapter in CHAPTERS if "hide-output" in chapter.read_text(encoding="utf-8"))
    page = page_at(browser, site.as_uri(), f"notebooks/{chapter.stem}.html", 1300, java_script_enabled=False)
    try:
        answer_is_shown_after(click, page)
    finally:
        page.context.close()


def answer_is_shown_after(ask, page) -> None:
    """A first answer is folded, shown after `ask(page, question)`, and folded again at the end."""
    question = page.locator("details.hide summary").first
    answer = page.locator("details.hide").first.locator(".cell_output")
    assert question.inner_text().strip() == "Made your prediction? Show what happens" and not answer.is_visible()
    ask(page, question)
    assert answer.is_visible()
    page.emulate_media(media="screen")
    if answer.is_visible():
        question.click()


def click(page, question) -> None:
    question.click()


def press_enter(page, question) -> None:
    question.focus()
    page.keyboard.press("Enter")


def print_it(page, question) -> None:
    page.emulate_media(media="print")
