"""Chapter 00 in JupyterLab, in a real browser, as a reader would use it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from tests.helpers import wait_until

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
CHAPTER, ANOTHER = "00_a_room_in_ten_minutes.ipynb", "another.ipynb"
CELLS = (
    'from chatroom_lib import chat, dashboard, serve\nserver = await serve("v4")',
    'view = dashboard(server, seconds=120)\nchat(server, "Alice", "Bob")',
    "await view.stop()\nview.thread.is_alive()",
)
RUN = 180  # seconds that a whole chapter may take, with room to spare on a busy machine,
START = 120  # that JupyterLab may take to start,
MS = 60_000  # and anything else that is awaited here, in ms

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab, with a copy of the chapters, another one of CHAPTER, and a notebook with CELLS: one
    for each test, with a kernel of its own."""
    tmp_path = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    shutil.copy(NOTEBOOKS / CHAPTER, tmp_path / "notebooks" / ANOTHER)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, tmp_path / "notebooks" / "live.ipynb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={tmp_path}/notebooks"]
    command += [f"--LabApp.{kind}_dir={tmp_path}/{kind}" for kind in ("user_settings", "workspaces")]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **folders}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/api/status", process, tmp_path / "log")
        yield address
    finally:
        process.terminate()  # it ends its kernels
        try:
            process.wait(MS / 1000)
        finally:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    latest = time.monotonic() + START
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            assert process.poll() is None, f"JupyterLab has ended:\n{log.read_text()}"
            assert time.monotonic() < latest, f"JupyterLab has not started in {START} s:\n{log.read_text()}"
            time.sleep(0.1)


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(MS)
    page = context.new_page()
    yield page
    with suppress(Exception):  # a page that has crashed shows nothing
        print(f"At last the page showed:\n{page.inner_text('body', timeout=MS / 10)}")  # seen if the test has failed
    context.close()


RUNNING = "[ ]:", "[*]:"  # a cell's prompt until it has run


class Notebook:
    """A notebook in JupyterLab, with the menus and the keys that a person has."""

    def __init__(self, page, address: str, name: str):
        self.page = page
        page.goto(f"{address}/lab/tree/{name}?reset")
        self.is_idle()

    def is_idle(self) -> None:
        """Wait until the kernel runs and has nothing to do."""
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()

    def choose(self, menu: str, item: str) -> None:
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=item).first.click()

    def cell(self, source: str):
        return self.page.locator(".jp-CodeCell").filter(has_text=source).first

    def prompt(self, source: str):
        """A cell's prompt: "[3]:" when it has run."""
        return self.cell(source).locator(".jp-InputPrompt")

    def number(self, source: str) -> str:
        return self.prompt(source).inner_text()

    def run(self, source: str) -> None:
        self.prompt(source).evaluate("prompt => prompt.textContent = '[ ]:'")  # it may run under the number it has now
        self.cell(source).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        self.becomes(lambda: self.number(source) not in RUNNING)

    def run_all(self, last: str) -> None:
        self.choose("Run", "Run All Cells")
        self.becomes(lambda: self.number(last) in RUNNING)
        self.becomes(lambda: self.number(last) not in RUNNING, RUN)

    def becomes(self, condition, seconds: float = MS / 1000) -> None:
        wait_until(condition, seconds, lambda pause: self.page.wait_for_timeout(1000 * pause))

    def errors(self) -> list[str]:
        return self.page.locator('.jp-OutputArea-output[data-mime-type*="error"]').all_inner_texts()


class Panel:
    """What a person sees of one chat panel, and does with it."""

    def __init__(self, page, name: str):
        self.page = page
        own_name = page.locator(".chatroom-status", has_text=f"as {name}.")
        self.box = page.locator(".chatroom-panel.widget-vbox", has=own_name)

    def types(self, text: str) -> None:
        """As a person does: a click into the field, key by key, then Enter."""
        self.box.get_by_label("Message").click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")

    def sees(self, text: str) -> None:
        self.box.get_by_role("log").get_by_text(text, exact=True).wait_for()

    def field_is_empty(self) -> bool:
        return self.box.get_by_label("Message").input_value() == ""

    def says_it_is_not_connected(self) -> bool:
        """It says so by its style alone: the kernel that could change its text has ended."""
        shown = "status => getComputedStyle(status, '::after').content"
        return "Not connected: the kernel" in self.box.locator(".chatroom-status").evaluate(shown)


IMPORTS, SERVER, PANELS = "import asyncio", "server = await serve(", 'chat(server, "Alice", "Bob")'
LAST = 'claim("The server has met no errors"'
ANSWER = 'frozen("Bob")'  # it answers a prediction, and needs no cell but the imports


def test_a_reader_chats_in_chapter_00(lab, page):
    notebook = Notebook(page, lab, CHAPTER)
    notebook.run_all(LAST)
    assert notebook.errors() == []
    alice, bob = Panel(page, "Alice"), Panel(page, "Bob")
    alice.types("Can you hear me?")
    bob.sees("Can you hear me?")
    notebook.becomes(alice.field_is_empty)
    bob.types("Yes!")
    alice.sees("Yes!")

    notebook.run(PANELS)  # again: new panels take over
    assert "Yes!" not in alice.box.inner_text()
    alice.types("And now?")
    bob.sees("And now?")

    notebook.choose("File", "Save Notebook")
    page.locator(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty").wait_for(state="detached")
    page.reload()
    notebook.is_idle()
    notebook.cell(PANELS).scroll_into_view_if_needed()
    bob.sees("And now?")
    bob.types("I am still here.")
    alice.sees("I am still here.")

    notebook.choose("Kernel", "Restart Kernel…")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    notebook.becomes(lambda: alice.says_it_is_not_connected() and bob.says_it_is_not_connected())
    notebook.choose("Edit", "Clear Outputs of All Cells")
    for source in (IMPORTS, SERVER, PANELS):
        notebook.run(source)
    assert not alice.says_it_is_not_connected()
    alice.types("Back again!")
    bob.sees("Back again!")
    assert notebook.errors() == []


def test_the_answer_to_a_prediction_is_hidden_until_its_cell_is_run(lab, page):
    notebook = Notebook(page, lab, ANOTHER)
    notebook.cell(ANSWER).scroll_into_view_if_needed()
    answer = notebook.cell(ANSWER)
    figure, numbers = answer.locator("img"), answer.get_by_text("heard, of 40: {")
    answer.locator(".jp-OutputPlaceholder").wait_for()  # to click
    assert not figure.is_visible() and numbers.count() == 0
    notebook.run(IMPORTS)
    notebook.run(ANSWER)
    figure.wait_for()
    numbers.wait_for()
    assert notebook.errors() == []


def test_a_dashboard_beside_a_panel_goes_on_after_its_cell_and_ends_as_a_picture(lab, page):
    notebook = Notebook(page, lab, "live.ipynb")
    for source in CELLS[:2]:
        notebook.run(source.splitlines()[0])
    picture = notebook.cell("view = dashboard").locator("img")
    Panel(page, "Alice").sees("Bob has joined.")
    for number in range(4):  # two changes may still be due to those who have joined
        before = picture.get_attribute("src")
        Panel(page, "Alice").types(f"hello {number}")
        notebook.becomes(lambda before=before: picture.get_attribute("src") != before)
    assert picture.count() == 1  # it is replaced, and not shown again
    notebook.run("await view.stop()")
    notebook.cell("await view.stop()").get_by_text("False").wait_for()
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 700
    assert notebook.errors() == []
