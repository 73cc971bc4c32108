"""Cells of the book run in a real browser: what they show, what they load, and how they are stopped."""

import json
import re
import socket
from pathlib import Path

import pytest

from chatroom_lib.browser.dependencies import what_they_need
from tests.helpers import TIMEOUT_FACTOR, code_cells

CHAPTERS = Path(__file__).parent.parent / "notebooks"
CHAPTER = "01_one_list"
NOTEBOOK = CHAPTERS / f"{CHAPTER}.ipynb"
MS = 60_000 * TIMEOUT_FACTOR  # that a cell may take on a busy machine
pytestmark = [
    *(pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("site"), pytest.mark.timeout(600 * TIMEOUT_FACTOR)),
]


def printed(cell) -> str:
    """What it printed when the book was made."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


class Chapter:
    """A chapter, opened in a browser, and all that it has asked for."""

    def __init__(self, browser, base: str, name: str):
        self.page = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
        self.page.set_default_timeout(MS)
        self.asked, self.failed = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.failed.append(str(error)))
        self.page.goto(f"{base}/notebooks/{name}.html", wait_until="load")
        self.cells = self.page.locator("div.cell:has(> .cell_input)")

    def close(self) -> None:
        self.page.context.close()

    def button(self, index: int, name: str):
        return self.cells.nth(index).get_by_role("button", name=name, exact=False).first

    def press(self, index: int, name: str = "Run") -> None:
        self.button(index, name).click()

    def run(self, index: int) -> str:
        """Run a cell, and return what it prints."""
        self.press(index)
        self.rest(index)
        shown = self.cells.nth(index).locator(".run-output")
        return "".join(shown.locator(".stream, .run-error").all_inner_texts()).replace("\u200b", "")

    def rest(self, index: int) -> None:
        """Wait until nothing runs."""
        self.button(index, "Stop").wait_for(state="hidden")

    def status(self, index: int) -> str:
        return self.cells.nth(index).locator(".run-status").inner_text()

    def write(self, index: int, code: str) -> None:
        self.cells.nth(index).locator("pre[contenteditable]").first.fill(code)


@pytest.fixture
def open_chapter(browser, site, address):
    opened = []

    def open_it(name: str, scheme: str = "http") -> Chapter:
        opened.append(Chapter(browser, address if scheme == "http" else site.as_uri(), name))
        return opened[-1]

    yield open_it
    for chapter in opened:
        chapter.close()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_simulated_cells_of_a_chapter_show_what_the_book_shows(scheme, open_chapter):
    chapter, cells = open_chapter(CHAPTER, scheme), code_cells(NOTEBOOK)
    needs = what_they_need([cell.source for cell in cells])
    simulated = [index for index, need in enumerate(needs) if need == ""]
    assert len(simulated) > 8
    for index in simulated:
        assert chapter.run(index) == printed(cells[index]), cells[index].source
    drawn = [index for index in simulated if any("image/png" in o.get("data", {}) for o in cells[index].outputs)]
    for index in drawn:
        assert chapter.cells.nth(index).locator(".run-output img").count() == 1
    assert not chapter.failed
    base = re.match(r"file://|http://[^/]+", chapter.page.url)[0]
    assert [url for url in chapter.asked if not url.startswith((base, "data:"))] == []


def test_nothing_of_python_is_loaded_before_somebody_presses_run(open_chapter):
    chapter = open_chapter(CHAPTER)
    chapter.page.wait_for_load_state("networkidle")
    assert "MB" in chapter.button(0, "Run").inner_text()
    ours = [url.rsplit("/")[-1].partition("?")[0] for url in chapter.asked if "/browser/" in url]
    assert sorted(ours) == ["browser.css", "cells.js", "editing.js", "python.js", "shown.js"]


def test_a_cell_that_needs_a_kernel_says_so_and_one_that_runs_live_is_simulated(open_chapter):
    chapter, cells = open_chapter(CHAPTER), code_cells(NOTEBOOK)
    needs = what_they_need([cell.source for cell in cells])
    kernel, live = needs.index("kernel"), needs.index("live")
    assert "needs a kernel" in chapter.cells.nth(kernel).inner_text()
    assert chapter.cells.nth(kernel).get_by_role("button").count() == 0
    chapter.run(live)
    assert "simulated" in chapter.cells.nth(live).locator(".run-output").inner_text()
    assert chapter.cells.nth(live).locator(".run-output img").count() == 1


def test_a_cell_that_is_tagged_so_needs_a_kernel(site):
    page = (site / "notebooks/A_event_loops.html").read_text(encoding="utf-8")
    cells = json.loads(re.search(r'id="cells-of-this-page">(.*?)</script>', page, re.DOTALL)[1])
    assert {cell["needs"] for cell in cells if "asyncio.run(coroutine)" in cell["code"]} == {"kernel"}


def test_an_exercise_is_solved_in_the_browser_and_code_can_be_taken_back(open_chapter):
    chapter, cells = open_chapter(CHAPTER), code_cells(NOTEBOOK)
    exercise = next(i for i, cell in enumerate(cells) if "exercise-1" in cell.metadata.get("tags", []))
    assert chapter.run(exercise).startswith("Not yet: ")
    solution = (CHAPTERS / "solutions/chapter_01.py").read_text()
    chapter.write(exercise, f"{solution}\ncheck_only_the_dead_are_removed(Room1)")
    assert chapter.run(exercise) == "Solved.\n"
    chapter.press(exercise, "Undo changes")
    assert chapter.cells.nth(exercise).locator(".run-output").count() == 0


def test_what_never_yields_is_stopped_and_the_next_run_starts_anew(open_chapter):
    chapter = open_chapter(CHAPTER)
    chapter.write(0, "x = 1")
    chapter.press(0)
    chapter.press(0, "Stop")  # while Python is loading
    chapter.rest(0)
    assert "Stopped." in chapter.status(0) and chapter.cells.nth(0).locator(".run-output").count() == 0
    chapter.run(0)
    chapter.write(1, "while True:\n    pass")
    chapter.press(1)
    chapter.page.get_by_text("Cell 2 runs").wait_for()
    chapter.press(1, "Stop")
    chapter.rest(1)
    assert "names are gone" in chapter.status(1)
    chapter.write(1, "print('x' in globals())")
    assert chapter.run(1) == "False\n"


def test_what_a_cell_prints_is_text_and_nothing_in_its_html_runs(open_chapter):
    chapter = open_chapter(CHAPTER)
    evil = "<img src=x onerror='document.title=1'><script>document.title=1</script><a href='javascript:1'>b</a>"
    chapter.write(0, f'class Evil:\n    def _repr_html_(self): return """{evil}<b>kept</b>"""\nprint("{evil}")\nEvil()')
    title = chapter.page.title()
    chapter.run(0)
    shown = chapter.cells.nth(0).locator(".run-output")
    assert evil in shown.locator(".stream").inner_text() and shown.locator("b").inner_text() == "kept"
    assert shown.locator("img, script, a").count() == 0 and chapter.page.title() == title


ASK = """from js import WebSocket, XMLHttpRequest
WebSocket.new("ws://{host}/")
ask = XMLHttpRequest.new()
ask.open("GET", "http://{host}/", False)
ask.send()"""


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_python_in_the_browser_has_no_network(scheme, open_chapter):
    chapter = open_chapter(CHAPTER, scheme)
    with socket.create_server(("127.0.0.1", 0)) as outside:
        outside.setblocking(False)
        chapter.write(0, ASK.format(host=f"127.0.0.1:{outside.getsockname()[1]}"))
        assert "NetworkError" in chapter.run(0)
        with pytest.raises(BlockingIOError):  # nobody has knocked
            outside.accept()
