"""How the tests are spread over processes, and a real browser for those that see what a reader sees.

With pytest-xdist (`-n 2`, as `make test` does) tests run beside each other. Those marked `exclusive` run afterwards,
one by one, in the process that started the others.
"""

import functools
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers import TIMEOUT_FACTOR, without

ROOT = Path(__file__).parent.parent
EXCLUSIVE = pytest.StashKey[list[str]]()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (  # no sandbox: it cannot be had as root, and nothing but our own pages is opened
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def is_worker(config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config):
    if not is_worker(config) and config.option.timeout is None:  # workers have the options of the process above them
        config.option.timeout = TIMEOUT_FACTOR * float(config.getini("timeout"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if is_worker(config):
        config.workeroutput["exclusive"] = [item.nodeid for item in items if item.get_closest_marker("exclusive")]
        items[:] = [item for item in items if not item.get_closest_marker("exclusive")]
        grouped = [item.nodeid for item in items if item.get_closest_marker("xdist_group")]
        assert all("@" in nodeid for nodeid in grouped), "pytest-xdist does not keep groups of tests together"


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    output = getattr(node, "workeroutput", {})  # a worker that crashed, or found no such file, tells of none
    if "exclusive" in output:
        node.config.stash[EXCLUSIVE] = output["exclusive"]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    """Run the exclusive tests once the workers have run all others."""
    result = yield
    if exclusive := session.config.stash.get(EXCLUSIVE, []):
        others = session.testscollected
        items = session.perform_collect(exclusive)
        session.testscollected += others
        run_in_turn(items)
    return result


def run_in_turn(items) -> None:
    for item, following in zip(items, [*items[1:], None]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.shouldstop:
            raise item.session.Interrupted(item.session.shouldstop)
        if item.session.shouldfail:
            raise item.session.Failed(item.session.shouldfail)


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright. (Its driver occupies this thread's event loop: no asyncio.run beside it.)"""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("Playwright", "make extras")
    if not CHROMIUM:
        without("Chromium", "apt install chromium, on Debian")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The book, built once. Its tests are in one xdist_group, "site"."""
    if missing := [name for name in ("sphinx", "myst_nb", "sphinx_book_theme") if find_spec(name) is None]:
        without(" and ".join(missing), "make site")
    folder = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-m", "sphinx", "-qEW", "--keep-going", "-c", "docs", "-d", folder / "doctrees"]
    built = subprocess.run([*command, ".", folder / "site"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "site"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(site):
    """Where a plain web server on this machine shows the book."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
