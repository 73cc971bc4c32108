"""A real browser, for the tests that look at what a reader sees."""

import shutil

import pytest

from tests.helpers import without

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (  # no sandbox: it cannot be had as root, and nothing but our own pages is opened
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


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
