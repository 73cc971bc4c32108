"""The chat page in a real browser: two pages and a program talk to each other, and every state is reached."""

import asyncio
import json
from contextlib import contextmanager
from http import HTTPStatus

import pytest
from websockets.sync.client import connect

from chatroom_lib import Server, run
from chatroom_lib.rooms import v1, v3_2
from tests.helpers import AT_MOST, PROMPT, said, wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("browser")]  # one browser for all of them
MS = 1000 * AT_MOST
UNPLEASANT = "<img src=x onerror=\"document.title='owned'\"> & </p><b>"


@contextmanager
def serving(room, **options):
    server = Server(room, **{"port": 0, **options})
    run(server.start())
    try:
        yield server
    finally:
        run(server.stop(), timeout=AT_MOST)


@pytest.fixture
def open_page(browser):
    """Opens the page of a server in a window of its own. At the end, errors in any of them fail the test."""
    contexts, complaints = [], []

    def open_one(server: Server, script: str = "", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(MS)
        context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(server.page)
        return page

    yield open_one
    for context in contexts:
        context.close()
    # A browser logs each connection and each request that fails. The page reports them in its own words.
    assert [complaint for complaint in complaints if not complaint.startswith(FAILURES)] == []


FAILURES = ("WebSocket connection to ", "Failed to load resource: ")


def join(page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()
    sees_status(page, f"Joined as {name}.")


def say(page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def sees_status(page, words: str) -> None:
    page.get_by_role("status").get_by_text(words).wait_for()


def sees_line(page, name: str, text: str) -> None:
    line = page.get_by_role("log").locator("p", has=page.get_by_text(name, exact=True))
    line.get_by_text(text, exact=True).last.wait_for()


def becomes(page, condition: str) -> None:
    """Wait until a JavaScript expression is true. (The page's policy forbids Playwright's own way.)"""

    wait_until(lambda: page.evaluate(condition))


def lines(page) -> list[str]:
    """What the log says, without the times."""
    return [line.split(" ", 1)[1] for line in page.get_by_role("log").locator("p:not(.news)").all_inner_texts()]


def has_members(server: Server, count: int) -> None:
    wait_until(lambda: len(server.room.members()) == count)


def listening(server: Server):
    return connect(server.url, compression=None, proxy=None, close_timeout=0.5)


# ---------------------------------------------------------------- talking


@pytest.mark.parametrize("room", ["v1", PROMPT["v4"]], ids=["v1", "v4"])  # test_server.py tries every version
def test_two_pages_and_a_program_talk(room, open_page):
    with serving(room) as server, listening(server) as program:
        ann, bob = open_page(server), open_page(server)
        join(ann, "Ann")
        join(bob, "Bob")
        has_members(server, 3)
        say(ann, "hello")
        sees_line(bob, "Ann", "hello")
        program.send(said("hello, both", "Cy"))
        sees_line(ann, "Cy", "hello, both")
        say(bob, UNPLEASANT)
        sees_line(ann, "Bob", UNPLEASANT)
        expected = [("Ann", "hello"), ("Cy", "hello, both"), ("Bob", UNPLEASANT)]
        heard = [json.loads(program.recv(timeout=AT_MOST)) for _ in expected]
        assert [(message["token"], message["content"]) for message in heard] == expected
        sees_line(bob, "Bob", UNPLEASANT)
        assert lines(ann) == lines(bob) == [f"{name}: {text}" for name, text in expected]
        assert ann.title() == bob.title() == "Chat room"
        ann.get_by_role("button", name="Leave").click()
        sees_status(ann, "You have left.")
        join(ann, "Ann")
        assert server.errors == []
        assert {url.rstrip("/") for url in ann.requests} == {server.page.rstrip("/")}


def test_a_long_name_and_a_long_text_are_shown_in_part(open_page):
    with serving("v1") as server, listening(server) as program:
        ann = open_page(server)
        join(ann, "Ann")
        has_members(server, 2)
        long = "." * 9_998 + "👋" + "." * 10_000
        for name, text in (("T" * 60_000, "one"), ("a\nb", "two"), ("", "three"), ("Bob", long), ("Bob", "x" * 10_000)):
            program.send(said(text, name))
        sees_line(ann, "Bob", "x" * 10_000)
        shown = [
            "T" * 39 + "…: one",
            "a b: two",
            "somebody: three",
            "Bob: " + "." * 9_998 + "…",
            "Bob: " + "x" * 10_000,
        ]
        assert lines(ann) == shown


LEFTS = """() => {   // where a line begins, and where each row of the first message's text does, in pixels
  const rows = [...document.querySelector("#log .text").getClientRects()].filter((box) => box.width);
  return [document.querySelector("#log time").getBoundingClientRect().left, rows.map((box) => box.left)];
}"""


def test_a_line_break_in_a_message_cannot_imitate_somebodys_line(open_page):
    with serving("v1") as server, listening(server) as program:
        ann = open_page(server)
        join(ann, "Ann")
        has_members(server, 2)
        program.send(said("hi\n10:15 Bob: I agree\n10:16 Cy: me too", "Mal"))
        program.send(said("No.", "Bob"))
        sees_line(ann, "Bob", "No.")
        edge, rows = ann.evaluate(LEFTS)
        assert len(rows) == 3 and min(rows) > edge + 10


def test_a_refused_text_is_put_back_into_the_field(open_page):
    with serving(lambda: v3_2.Room(limit=0.001)) as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "one")
        sees_line(ann, "Ann", "one")
        say(ann, "two")
        sees_status(ann, "Not sent. Please wait")
        assert ann.get_by_label("Message", exact=True).input_value() == "two"
        assert ann.locator("#status").get_attribute("data-state") == "joined"


# ---------------------------------------------------------------- joining and leaving


async def never_answer(_connection, request, _response):
    """For `websockets.serve(process_response=...)`, as is a Door: no answer to a request to join."""
    if request.path == "/chatroom":
        await asyncio.sleep(3600)


class Door:
    """Refuses every request to join while `says` is not None."""

    def __init__(self, status: HTTPStatus, text: str):
        self.says = status, text

    def __call__(self, connection, request, _response):
        if request.path == "/chatroom" and self.says:
            return connection.respond(*self.says)


class Hasty:
    """A room that closes every connection after one message, with a reason."""

    def __init__(self, code: int = 1008):
        self.code = code

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        await connection.recv()
        await connection.close(self.code, "That was enough.")

    def members(self):
        return []


def state(page) -> str:
    return page.locator("#status").get_attribute("data-state")


def test_the_status_line_says_what_the_page_does(open_page):
    with serving("v1", process_response=never_answer) as server:
        ann = open_page(server)
        assert state(ann) == "idle"
        ann.get_by_role("button", name="Join").click()
        sees_status(ann, "Please type your name first.")
        ann.keyboard.type("Ann\n")  # the field has the focus
        sees_status(ann, "Connecting…")
        assert state(ann) == "connecting" and not ann.get_by_label("Your name").is_editable()
        ann.get_by_role("button", name="Cancel").click()
        sees_status(ann, "Not connected.")
        say(ann, "hello?")
        sees_status(ann, "Not sent: you are not in the room.")
        assert ann.get_by_label("Message", exact=True).input_value() == "hello?"


QUICK = """  // The pauses between two tries are recorded in ms, and pass a thousand times as fast.
const inTime = setTimeout;
window.pauses = [];
window.setTimeout = (act, ms) => {
  if (act.name !== "connect") return inTime(act, ms);
  pauses.push(ms);
  return inTime(act, ms / 1000);
};"""


def test_a_page_that_is_not_let_in_says_why_and_does_not_try_again(open_page):
    door = Door(HTTPStatus.FORBIDDEN, "Members only.\n")
    with serving("v1", process_response=door) as server:
        ann = open_page(server, QUICK)
        ann.get_by_label("Your name").fill("Ann")
        ann.get_by_role("button", name="Join").click()
        sees_status(ann, "The server does not let you in. The server says: Members only.")
        assert state(ann) == "refused" and ann.evaluate("pauses") == []
        door.says = None
        ann.get_by_role("button", name="Join again").click()
        sees_status(ann, "Joined as Ann.")


def test_a_full_room_is_tried_again(open_page):
    door = Door(HTTPStatus.SERVICE_UNAVAILABLE, "The room is full.\n")
    with serving("v1", process_response=door) as server:
        ann = open_page(server)
        ann.get_by_label("Your name").fill("Ann")
        ann.get_by_role("button", name="Join").click()
        sees_status(ann, "The server says: The room is full. Next try in 1 s.")
        assert state(ann) == "lost"
        door.says = None
        sees_status(ann, "Joined as Ann.")


def test_an_evicted_page_says_why(open_page):
    with serving(Hasty) as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "hello")
        sees_status(ann, "The room has disconnected you. The server says: That was enough.")
        assert state(ann) == "refused"
        assert ann.get_by_label("Message", exact=True).input_value() == "hello"  # nobody has heard it


def test_a_lost_connection_comes_back_and_nothing_typed_is_lost(open_page):
    with serving("v3") as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "one")
        sees_line(ann, "Ann", "one")
        ann.keyboard.type("half a sen")
    sees_status(ann, "The server has stopped.")
    assert state(ann) in ("lost", "connecting")
    ann.keyboard.type("tence")
    with serving("v3", port=server.port) as server:
        sees_status(ann, "Joined as Ann.")
        ann.get_by_role("log").get_by_text("What was said in the meantime is not shown.").wait_for()
        ann.keyboard.press("Enter")
        sees_line(ann, "Ann", "half a sentence")


def test_a_message_in_flight_when_the_connection_broke_is_put_back_into_the_field(open_page):
    class Absent(v1.Room):
        async def broadcast(self, message):
            self.connections[0].transport.abort()

    with serving(Absent) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        say(ann, "hello")
        ann.get_by_role("log").get_by_text("What you said last may not have been heard.").wait_for()
        sees_status(ann, "Joined as Ann.")
        assert ann.get_by_label("Message", exact=True).input_value() == "hello"


def test_the_pauses_grow_and_are_random(open_page):
    with serving("v3") as server:
        pages = open_page(server, QUICK), open_page(server, QUICK)
        for page, name in zip(pages, ("Ann", "Bob")):
            join(page, name)
    for page in pages:
        becomes(page, "pauses.length >= 7")
    pauses = [page.evaluate("pauses.slice(0, 7)") for page in pages]
    for index, longest in enumerate((1, 2, 4, 8, 16, 30, 30)):
        one, other = pauses[0][index], pauses[1][index]
        assert 500 * longest <= min(one, other) and max(one, other) <= 1000 * longest and one != other


def test_one_can_stop_trying_and_need_not_wait(open_page):
    slow = QUICK.replace("ms / 1000", "3_600_000")
    with serving("v3") as server:
        ann = open_page(server, slow)
        assert ann.get_by_role("button", name="Stop trying").is_hidden()
        join(ann, "Ann")
    sees_status(ann, "Next try in")
    ann.get_by_role("button", name="Join now").click()
    sees_status(ann, "Nobody answers. Next try in")
    ann.get_by_role("button", name="Stop trying").click()
    sees_status(ann, "Not connected.")
    assert ann.get_by_role("button", name="Stop trying").is_hidden()
    assert ann.evaluate("document.activeElement.id") == "join"  # and not lost with the button
    with serving("v3", port=server.port):
        join(ann, "Ann")


# ---------------------------------------------------------------- for everybody


def test_it_can_be_used_with_the_keyboard_alone(open_page):
    with serving("v1") as server:
        ann = open_page(server)
        for key in ("Tab", *"Ann", "Enter"):
            ann.keyboard.press(key)
        sees_status(ann, "Joined as Ann.")
        ann.keyboard.type("hello\n")  # the focus has gone to the message
        sees_line(ann, "Ann", "hello")
        places = []
        for _ in range(5):
            ann.keyboard.press("Tab")
            places.append(ann.evaluate("document.activeElement.id"))
        assert places == ["send", "", "name", "join", "log"]  # "": around by way of the browser's own
        ann.keyboard.press("Shift+Tab")
        ann.keyboard.press("Enter")
        sees_status(ann, "You have left.")


def test_it_speaks_to_a_screen_reader(open_page):
    with serving("v1") as server:
        ann = open_page(server)
        join(ann, "Ann")
        tree = ann.locator("body").aria_snapshot()
        expected = [
            *("- main:", '- heading "Chat room" [level=1]', "- status: Joined as Ann."),
            *('- textbox "Your name": Ann', '- button "Leave"', '- log "Messages"'),
            *('- textbox "Message"', '- button "Send"'),
        ]
        assert [line.strip() for line in tree.splitlines() if "- text:" not in line] == expected
        assert ann.get_by_role("log").get_attribute("aria-live") == "polite"
        assert ann.get_by_role("log").get_attribute("tabindex") == "0"  # so that it can be scrolled


CONTRAST = """() => {
  const channel = (part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (node) => {   // the first colour that is not transparent
    const colour = numbers(getComputedStyle(node).backgroundColor);
    return colour[3] === 0 ? behind(node.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll("h1, label, input, button, #status, #log *")];
  return texts.filter((node) => node.checkVisibility()).map((node) => {
    const [dark, bright] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => a - b);
    return [`${node.tagName} ${node.id} ${node.className}`, (bright + 0.05) / (dark + 0.05)];
  });
}"""  # WCAG 2.2, "contrast ratio"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_can_be_read_on_a_phone_and_in_the_dark(scheme, width, open_page):
    with serving("v1") as server:
        ann = open_page(server, QUICK.replace("ms / 1000", "3_600_000"),
                        color_scheme=scheme, viewport={"width": width, "height": 640})  # fmt: skip
        join(ann, "Ann")
        say(ann, "hello")
        sees_line(ann, "Ann", "hello")
        with listening(server) as program:
            program.send(said("x" * 500, "W" * 300))
            sees_line(ann, "W" * 39 + "…", "x" * 500)
    sees_status(ann, "Next try in")
    with serving("v1", port=server.port):
        join_now = ann.get_by_role("button", name="Join now")
        join_now.click()
        ann.get_by_role("log").get_by_text("You were away for").wait_for()
    sees_status(ann, "Next try in")
    assert ann.evaluate("document.documentElement.scrollWidth") <= width
    for control in (join_now, ann.get_by_role("button", name="Send"), ann.get_by_label("Your name")):
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 44  # as large as a thumb
    ratios = ann.evaluate(CONTRAST)
    assert len(ratios) > 10 and [pair for pair in ratios if pair[1] < 4.5] == []


def test_the_log_follows_unless_one_reads_further_up(open_page):
    with serving("v1") as server, listening(server) as program:
        ann = open_page(server, viewport={"width": 600, "height": 400})
        join(ann, "Ann")
        has_members(server, 2)
        for number in range(600):
            program.send(said(str(number), "Cy"))
        sees_line(ann, "Cy", "599")
        assert len(lines(ann)) == 500  # it holds no more
        assert ann.evaluate("log.scrollHeight - log.scrollTop - log.clientHeight") < 8
        ann.evaluate("log.scrollTop = 100")
        becomes(ann, "!followingLog")
        program.send(said("one more", "Cy"))
        sees_line(ann, "Cy", "one more")
        assert ann.evaluate("log.scrollTop") < 200
