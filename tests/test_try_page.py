"""The page "Try it" in a real browser: a room is run, stepped through, changed, checked, and sent as a link."""

import base64
import json
import random
import re
import zlib

import pytest

from chatroom_lib.browser.try_it import starts
from tests.helpers import TIMEOUT_FACTOR

MS = 60_000 * TIMEOUT_FACTOR
CODE = {each["name"]: each["code"] for each in starts()}
REPAIRED = CODE["v1.1"].replace(
    "self.connections = self.connections[:index] + self.connections[index + 1 :]",
    "self.connections = [other for other in self.connections if other is not connection]",
)
pytestmark = [
    *(pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("site"), pytest.mark.timeout(600 * TIMEOUT_FACTOR)),
]


class TryIt:
    def __init__(self, browser, base: str, width: int = 1300):
        self.page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
        self.page.set_default_timeout(MS)
        self.asked, self.failed = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.failed.append(str(error)))
        self.page.goto(f"{base}/docs/try.html", wait_until="load")
        self.code = self.page.get_by_label("The code of the room")
        self.outcome = self.page.locator(".try-outcome")
        self.said = self.page.locator(".steps-said")

    def close(self) -> None:
        assert not self.failed
        self.page.context.close()

    def link(self, value: dict) -> str:
        """The link that carries this."""
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        packed = packer.compress(json.dumps(value).encode()) + packer.flush()
        return f"{self.page.url.partition('#')[0]}#{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=False).first.click()
        self.rest()

    def rest(self) -> None:
        self.page.get_by_role("button", name="Stop").wait_for(state="hidden")

    def status(self) -> str:
        return self.page.locator(".try-status").inner_text()

    def values(self) -> list[str]:
        labels = "Start from", "What happens", "Seed"
        return [self.page.get_by_label(label, exact=False).first.input_value() for label in labels]

    def panel(self, title: str) -> str:
        return self.page.locator(".steps section", has=self.page.locator("h3", has_text=title)).inner_text()


@pytest.fixture
def try_it(browser, site, address):
    opened = []

    def open_it(scheme: str = "http", **options) -> TryIt:
        opened.append(TryIt(browser, address if scheme == "http" else site.as_uri(), **options))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_reader_sees_why_cy_is_evicted_and_mends_the_room(scheme, try_it):
    page = try_it(scheme)
    assert not [url for url in page.asked if "runtime" in url]
    page.press("Run")
    assert "Cy is evicted at 10.000 s" in page.outcome.inner_text()
    assert page.page.locator(".try-figures img").count() == 3

    page.page.get_by_label("Jump to an event").select_option(label="10.000 s: Cy is not in the pool any more")
    time = page.page.get_by_label("Step", exact=True)
    time.press("ArrowLeft")  # the step before: Bob has just been removed
    assert "Bob is not in the pool any more." in page.said.inner_text()
    assert page.panel("In the pool").split()[4:] == ["0", "Ann", "1", "Cy", "2", "Di", "1", "Bob", "removed"]
    assert "index = 1, connection = Bob (not in the pool)" in page.panel("Tasks")  # of the other broadcast
    time.press("ArrowRight")
    assert "Cy is not in the pool any more." in page.said.inner_text()
    ran = page.page.locator(".steps-code li.ran").all_inner_texts()
    assert any("self.connections[:index] + self.connections[index + 1 :]" in line for line in ran)
    time.press("Home")
    assert "The room has started." in page.said.inner_text()
    time.press("Space")
    page.page.get_by_role("button", name="Pause").wait_for()
    page.page.get_by_text(re.compile(r", step (?!1 )\d+ of ")).wait_for()  # it plays on while a busy test looks
    time.press("Space")
    time.press("End")
    assert page.page.get_by_role("button", name="Play").count() == 1 and "step 58 of 58" in page.said.inner_text()

    page.code.fill(REPAIRED)
    page.page.get_by_label("Start from").select_option("v2")
    page.page.get_by_label("Start from").select_option("v1.1")
    assert page.code.input_value() == REPAIRED  # what one has written stays
    page.press("Run")
    assert "Nobody is evicted" in page.outcome.inner_text()
    base = page.page.url.rpartition("/docs/")[0]
    assert [url for url in page.asked if not url.startswith((base, "data:"))] == []


def test_moving_the_seed_runs_anew_and_the_last_one_counts(try_it):
    page = try_it()
    page.press("Run")
    seed = page.page.locator(".try-seed input")
    for _ in range(4):
        seed.press("ArrowRight")
    page.page.get_by_text("Seed 4, ").wait_for()


def test_a_link_carries_the_room_the_scenario_the_seed_and_the_step_and_runs_nothing_by_itself(try_it):
    sender = try_it()
    sender.code.fill(REPAIRED)
    sender.page.get_by_label("What happens").select_option("your own")
    sender.page.get_by_label("Your own scenario").fill("Scenario([talker('Ann', says=2), listener('Zoë')], duration=9)")
    sender.page.locator(".try-seed input").press("End")
    sender.press("Run")
    for _ in range(3):
        sender.page.locator(".steps-slider").press("ArrowRight")
    said = sender.said.inner_text()
    sender.page.get_by_role("button", name="Copy link").click()
    sender.page.wait_for_url("**/try.html#*")

    receiver = try_it()
    receiver.page.goto(sender.page.url)  # in the same tab, where the page is open already
    receiver.page.get_by_text("came with the link").wait_for()
    assert receiver.code.input_value() == REPAIRED and not [url for url in receiver.asked if "runtime" in url]
    receiver.press("Run")
    assert "Zoë\tlistens\thears 2 of 2" in receiver.page.locator(".try-people").inner_text()
    assert receiver.page.get_by_text("Seed 199, ").count() == 1 and receiver.said.inner_text() == said


def test_what_came_with_a_link_runs_only_when_run_is_pressed_also_where_another_room_has_run(try_it):
    page = try_it()
    sent = page.link({"code": "raise SystemExit('ran')", "scenario": "healthy", "seed": 3})
    page.press("Run")
    page.page.goto(sent)
    page.page.get_by_text("came with the link").wait_for()
    page.page.get_by_label("Start from").select_option("v2")
    page.press("Run")
    page.page.get_by_label("Start from").select_option("the room of the link")
    page.page.locator(".try-seed input").press("End")
    page.page.wait_for_timeout(1000)  # longer than it waits for the slider
    assert page.page.get_by_text("Seed 3, ").count() == 1 and page.page.locator(".try-mistake").count() == 0
    page.press("Run")
    assert "SystemExit" in page.page.locator(".try-mistake").inner_text()


def test_a_link_that_is_no_room_says_so_and_the_page_works(try_it):
    page = try_it()
    bomb = page.link({"code": "#" * 3_000_000, "scenario": "healthy"})
    assert len(bomb) < 20_000
    for fragment, told in {
        "no-link": "The link is damaged",
        "A" * 20_001: "The link is too long: 20001 characters",
        bomb.partition("#")[2]: "The link is damaged",
        page.link({"code": "x = 1", "scenario": "of another book"}).partition("#")[2]: "of another version",
    }.items():
        page.page.goto(f"{page.page.url.partition('#')[0]}#{fragment}")
        page.page.get_by_text(told).wait_for()
    assert page.code.input_value() == CODE["v1.1"]
    page.code.fill("".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=12_000))))
    page.page.get_by_role("button", name="Copy link").click()
    page.page.get_by_text("too long for a link").wait_for()


def test_what_a_reader_has_written_is_there_after_a_reload_and_changes_can_be_taken_back_and_forth(try_it):
    page = try_it()
    page.code.fill(REPAIRED)
    page.page.get_by_label("Start from").select_option("v2")
    page.page.get_by_label("What happens").select_option("frozen then dies")
    page.page.reload()
    assert page.code.input_value() == CODE["v2"] and page.values() == ["v2", "frozen then dies", "0"]
    page.page.get_by_label("Start from").select_option("v1.1")
    assert page.code.input_value() == REPAIRED
    page.page.get_by_role("button", name="Undo changes").click()
    assert page.code.input_value() == CODE["v1.1"]
    page.code.press("Control+z")
    assert page.code.input_value() == REPAIRED


def test_mistakes_are_one_line_and_what_people_are_called_is_text(try_it):
    page = try_it()
    page.code.fill("class Room:\n    def __init__(self:\n")
    page.press("Run")
    assert page.page.locator(".try-mistake").inner_text().startswith("✗ line 2: SyntaxError")
    page.page.get_by_role("button", name="Show line 2").click()
    assert page.code.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)") == "    def __init__(self:"
    name = "<img/src=x/onerror=document.title=1>"
    page.page.get_by_label("What happens").select_option("your own")
    page.page.get_by_label("Your own scenario").fill("Scenario(\n[talker('Ann', 1 / 0)])")
    page.code.fill(CODE["v1"].replace("frame = encode(message)", f"frame = encode(message); print({name!r})"))
    page.press("Run")
    assert page.page.locator(".try-mistake").inner_text().startswith("✗ the scenario, line 2: ZeroDivisionError")
    own = f"Scenario([talker({json.dumps(name)}, says=2), listener('Cy')], duration=9)"
    page.page.get_by_label("Your own scenario").fill(own)
    page.press("Run")
    assert page.page.locator(".try-people tr").all_inner_texts() == [
        f"{name}\tsays 2 messages\thears 2 of 2",
        "Cy\tlistens\thears 2 of 2",
    ]
    assert page.page.locator("details", has_text="What the room prints").locator("pre").inner_text() == f"{name}\n" * 2
    assert page.page.locator(".try-answer img[src='x']").count() == 0 and page.page.title() != "1"


def test_a_room_that_never_yields_is_stopped_and_checks_go_on_afterwards(try_it):
    page = try_it()
    page.code.fill(CODE["v1"].replace("frame = encode(message)", "while True: pass"))
    page.page.get_by_role("button", name="Run", exact=False).first.click()
    page.page.get_by_text("Running …").or_(page.page.get_by_text("Loading Python")).first.wait_for()
    page.page.wait_for_timeout(6000)  # it is in the room by now, or will never end
    page.press("Stop")
    assert "The next run starts Python anew" in page.status()
    page.code.fill(CODE["v1"])
    page.page.get_by_label("What happens").select_option("your own")
    page.page.get_by_label("Your own scenario").fill("Scenario([talker('Ann', says=2), leaving('Bob', leaves=1)])")
    page.press("Check with 5 seeds")
    card = page.page.locator(".try-answer table").inner_text()
    assert "delivery" in card and "no-leak" in card
    page.page.locator("li", has_text="no-leak").get_by_role("button", name="Step through it").click()
    page.rest()
    assert "no-leak is broken" in page.page.locator(".try-failures").inner_text()


def test_it_fits_a_phone_and_leads_to_where_a_lock_is_taken(try_it):
    page = try_it(width=390)
    page.page.get_by_label("Start from").select_option("v2")
    page.press("Run")
    page.page.get_by_label("Jump to an event").select_option(label="6.005 s: what waits for Bob fills the buffer")
    assert "so a send waits too" in page.panel("On the way to people")
    page.page.get_by_label("Jump to an event").select_option(label="6.005 s: lock is held by task 7")
    assert "lock: held by task 7; waited for by nobody" in page.panel("Locks")
    assert page.page.evaluate("document.documentElement.scrollWidth") == 390
    controls = page.page.locator(".try button:visible, .try select:visible").all()
    assert controls and min(control.bounding_box()["height"] for control in controls) >= 39
