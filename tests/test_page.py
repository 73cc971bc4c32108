"""The chat page in a real browser: two pages and a program talk to each other, and every state is reached."""

import asyncio
import json
import re
import sqlite3
from contextlib import closing, contextmanager
from http import HTTPStatus
from types import SimpleNamespace

import pytest
from websockets.sync.client import connect

from chatroom_lib import Server, run
from chatroom_lib.rooms import v1, v3_2, v4, v5, v6, v7, v8, v9
from tests.helpers import AT_MOST, PROMPT, fill, held, process, said, stand_still, wait_until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("browser")]  # one browser for all of them
MS = 1000 * AT_MOST
UNPLEASANT = "<img src=x onerror=\"document.title='owned'\"> & </p><b>"
QUICK = """  // The pauses between two tries are recorded in ms, and pass a thousand times as fast.
const inTime = setTimeout;
window.pauses = [];
window.setTimeout = (act, ms) => {
  if (act.name !== "connect") return inTime(act, ms);
  pauses.push(ms);
  return inTime(act, ms / 1000);
};"""

RECORD = """  // What the status line has said, in turn.
window.statuses = [];
addEventListener("DOMContentLoaded", () => {
  const line = document.getElementById("status");
  new MutationObserver(() => statuses.push(line.textContent)).observe(line, { childList: true });
});"""


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
        context.add_init_script(RECORD + script)
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


def saw_status(page, words: str) -> None:
    """It may have stood there for a moment only: chance decides when the page tries again."""
    becomes(page, f"statuses.some((each) => each.includes({json.dumps(words)}))")


def sees_line(page, name: str, text: str) -> None:
    line = page.locator("#lines p", has=page.get_by_text(name, exact=True))
    line.get_by_text(text, exact=True).last.wait_for()


def becomes(page, condition: str) -> None:
    """Wait until a JavaScript expression is true. (The page's policy forbids Playwright's own way.)"""

    wait_until(lambda: page.evaluate(condition))


LINES = """[...document.querySelectorAll("#lines p:not(.news)")].map(
  (line) => line.querySelector(".name").textContent + ": " + line.querySelector(".text").textContent)"""


def lines(page) -> list[str]:
    """What was heard, as the log has it, without the times."""
    return page.evaluate(LINES)


UNHEARD = """[...document.querySelectorAll("#unheard p")].map(
  (line) => [line.querySelector(".name").textContent + ": " + line.querySelector(".text").textContent,
             line.querySelector(".fate").textContent])"""


def unheard(page) -> list[tuple[str, str]]:
    """What the page has said and not heard yet, and what it says about that."""
    return [tuple(entry) for entry in page.evaluate(UNHEARD)]


def sees_fates(page, *entries: tuple[str, str]) -> None:
    wait_until(lambda: unheard(page) == [*entries])


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
        assert ann.get_by_label("Message", exact=True).input_value() == "two" and unheard(ann) == []
        assert ann.locator("#status").get_attribute("data-state") == "joined"


# ---------------------------------------------------------------- sending until heard


COLOURS = """["#lines .text", "#unheard .text"].map((one) => getComputedStyle(document.querySelector(one)).color)"""


@pytest.mark.parametrize("version", [v4, v6], ids=["v4, without ids", "v6"])
def test_what_one_says_is_shown_as_being_sent_until_it_is_heard(version, open_page):
    room = held(version.Room)()
    with serving(room) as server:
        ann, bob = open_page(server), open_page(server)
        join(bob, "Bob")
        has_members(server, 1)
        say(bob, "first")
        join(ann, "Ann")
        has_members(server, 2)
        for text in ("hello", "hello", UNPLEASANT):
            say(ann, text)
        said_so_far = ["Ann: hello", "Ann: hello", f"Ann: {UNPLEASANT}"]
        assert unheard(ann) == [(text, "sending …") for text in said_so_far] and lines(ann) == []
        assert ann.get_by_role("log").get_by_text("sending …").count() == 3
        assert ann.get_by_role("button", name="Send again").count() == 0
        room.release()
        for page in (ann, bob):
            wait_until(lambda page=page: lines(page) == ["Bob: first", *said_so_far])
        assert unheard(ann) == unheard(bob) == [] and ann.title() == "Chat room"


def test_what_is_being_sent_is_paler_and_a_screen_reader_is_told_only_what_becomes_of_it(open_page):
    with serving(held(v4.Room)()) as server, listening(server) as program:
        ann = open_page(server)
        join(ann, "Ann")
        has_members(server, 2)
        say(ann, "hello")
        run(deliver(server, said("loud and clear", "Cy")))
        sees_line(ann, "Cy", "loud and clear")
        heard_colour, said_colour = ann.evaluate(COLOURS)
        assert heard_colour != said_colour
        outbox = ann.locator("#unheard")
        assert (outbox.get_attribute("aria-live"), outbox.get_attribute("aria-relevant")) == ("polite", "text")
        assert json.loads(program.recv(timeout=AT_MOST))["content"] == "loud and clear"


async def deliver(server: Server, frame: str) -> None:
    for member in server.room.members():
        await member.send(frame)


def test_a_refused_text_stays_in_the_log_while_something_else_is_typed(open_page):
    room = held(v4.Room)(limit=0.001, burst=1)
    with serving(room) as server:
        ann = open_page(server)
        join(ann, "Ann")
        for text in ("one", "two", "three"):
            say(ann, text)
        ann.keyboard.type("half a sen")
        room.release()
        sees_fates(ann, ("Ann: two", "not sent"), ("Ann: three", "not sent"))
        assert lines(ann) == ["Ann: one"] and ann.get_by_label("Message", exact=True).input_value() == "half a sen"
        ann.get_by_role("button", name="Leave").click()
        room.limit = None
        join(ann, "Ann")
        ann.get_by_role("button", name="Remove").first.click()
        ann.get_by_role("button", name="Send again").click()
        sees_line(ann, "Ann", "three")
        assert lines(ann) == ["Ann: one", "Ann: three"] and unheard(ann) == []
        assert ann.evaluate("document.activeElement.id") == "message"


class Absent(v1.Room):
    """Loses each message, and the connection of whoever speaks first."""

    lost = False

    async def broadcast(self, message):
        if self.lost:
            return await super().broadcast(message)
        self.lost = True
        self.connections.pop(0).transport.abort()


class Relay(v1.Room):
    """Passes on what comes as it is, ids included. It cannot tell that it has passed something on before."""

    lost = False

    async def handle(self, connection):
        self.connections.append(connection)
        async for frame in connection:
            if "the end" in frame and not self.lost:
                self.lost = True
                self.connections.remove(connection)
                connection.transport.abort()
            for each in self.connections:
                await each.send(frame)


@pytest.mark.parametrize("room, texts", [(Absent, []), (Relay, ["heard under its id"])], ids=["no ids", "ids alone"])
def test_a_room_without_numbers_is_told_again_only_by_a_person(room, texts, open_page):
    with serving(room) as server:
        ann, bob = open_page(server, QUICK), open_page(server)
        join(ann, "Ann")
        has_members(server, 1)
        join(bob, "Bob")
        has_members(server, 2)
        for text in texts:
            say(ann, text)
            sees_line(ann, "Ann", text)
        say(ann, "the end")
        sees_fates(ann, ("Ann: the end", "perhaps not sent"))
        sees_status(ann, "Joined as Ann.")
        has_members(server, 2)
        say(bob, "who was that?")
        sees_line(ann, "Bob", "who was that?")
        assert unheard(ann) == [("Ann: the end", "perhaps not sent")]
        before = lines(bob).count("Ann: the end")  # with the relay, once: it is heard twice in the end
        ann.get_by_role("button", name="Send again").click()
        sees_line(ann, "Ann", "the end")
        wait_until(lambda: lines(bob).count("Ann: the end") == before + 1)
        assert unheard(ann) == [] and lines(ann).count("Ann: the end") == 1


def at(port: int) -> SimpleNamespace:
    """What `open_page` needs to know of a server in another process."""
    return SimpleNamespace(page=f"http://127.0.0.1:{port}/")


def sent_by(page) -> list[dict]:
    """What the page sends from its next connection on."""
    frames = []

    def note(frame):
        frames.append(json.loads(frame))

    page.on("websocket", lambda socket: socket.on("framesent", note))
    return frames


@pytest.mark.parametrize("version", ["v6", "v7"])
def test_what_a_kill_has_swallowed_is_said_again_under_its_id_and_heard_once(version, open_page, tmp_path):
    data = "--data", str(tmp_path / "chat.db")
    with process(version, "--port", "0", *data) as (port, server):
        ann, bob = open_page(at(port), QUICK), open_page(at(port), QUICK)
        frames = sent_by(ann)
        join(ann, "Ann")
        join(bob, "Bob")
        say(ann, "one")
        sees_line(bob, "Ann", "one")
        stand_still(server)
        say(ann, "two")
        say(ann, UNPLEASANT)
        assert [fate for _, fate in unheard(ann)] == ["sending …", "sending …"]
        server.kill()
        sees_fates(ann, ("Ann: two", "perhaps not sent"), (f"Ann: {UNPLEASANT}", "perhaps not sent"))
    with process(version, "--port", str(port), *data):
        for page in (ann, bob):
            wait_until(lambda page=page: lines(page) == ["Ann: one", "Ann: two", f"Ann: {UNPLEASANT}"])
        say(bob, "end")
        sees_line(ann, "Bob", "end")
        assert lines(ann) == lines(bob) == ["Ann: one", "Ann: two", f"Ann: {UNPLEASANT}", "Bob: end"]
        assert unheard(ann) == []
    with closing(sqlite3.connect(data[1])) as file:
        kept = file.execute("SELECT content, id FROM message ORDER BY seq").fetchall()
    ids = {frame["content"]: frame["id"] for frame in frames if "content" in frame}
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in ids.values()) and len(set(ids.values())) == 3
    assert kept[:3] == list(ids.items())
    assert [frame.get("content") for frame in frames].count("two") == 2  # it was said again


@pytest.mark.parametrize("version", [v5, v6], ids=["v5", "v6"])
def test_what_was_kept_is_not_said_again(version, open_page, tmp_path):
    class Silent(version.Room):
        def broadcast(self, messages):
            for connection in [*self.connections]:
                connection.transport.abort()
            self.last = self.history.last

    path = str(tmp_path / "chat.db")
    with serving(lambda: Silent(path)) as server:
        ann = open_page(server, QUICK)
        frames = sent_by(ann)
        join(ann, "Ann")
        say(ann, "hello")
        sees_line(ann, "Ann", "hello")  # from the history
        assert unheard(ann) == [] and lines(ann) == ["Ann: hello"]
        becomes(ann, "numbersHere")
        assert [frame.get("content") for frame in frames].count("hello") == 1


def test_a_room_that_tells_where_one_is_is_told_again_at_once_and_passes_nothing_on_twice(open_page, tmp_path):
    class Hasty(v7.Room):
        hold = True

        def broadcast(self, messages):
            if self.hold:
                self.hold = False
                self.last = messages[-1].seq  # nobody hears it, and the speaker must come back
                next(iter(self.readers)).transport.abort()
            else:
                super().broadcast(messages)

    path = fill(tmp_path / "chat.db", 1, 300)
    with serving(lambda: Hasty(path, limit=None)) as server:
        ann = open_page(server, QUICK)
        frames = sent_by(ann)
        join(ann, "Ann")
        sees_line(ann, "Cy", "message 300")
        say(ann, "hello")
        wait_until(lambda: lines(ann) == [*numbers(251, 300), "Ann: hello"] and unheard(ann) == [])
        wait_until(lambda: [frame.get("content") for frame in frames] == ["hello", "hello"])
        say(ann, "how are you?")
        sees_line(ann, "Ann", "how are you?")
        assert lines(ann) == [*numbers(251, 300), "Ann: hello", "Ann: how are you?"]
        assert server.room.history.last == 302


# ---------------------------------------------------------------- the history


def numbers(first: int, last: int) -> list[str]:
    return [f"Cy: message {number}" for number in range(first, last + 1)]


def test_a_newcomer_sees_the_last_messages_as_text_and_without_a_time(open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 60)
    with serving(lambda: v6.Room(path)) as server:
        with listening(server) as program:
            program.send(said(UNPLEASANT, UNPLEASANT))
            program.recv(timeout=AT_MOST)
        ann = open_page(server)
        join(ann, "Ann")
        sees_line(ann, UNPLEASANT[:39] + "…", UNPLEASANT)
        assert lines(ann)[:-1] == numbers(12, 60)
        assert ann.locator("#lines time").count() == 0 and ann.locator("#lines p[aria-live=off]").count() == 50
        say(ann, "now")
        sees_line(ann, "Ann", "now")
        assert ann.locator("#lines time").count() == 1 and ann.locator("#lines p[aria-live=off]").count() == 50
        assert ann.title() == "Chat room" and ann.locator("img").count() == 0


PLACE = """[...document.querySelectorAll("#lines p")].find(   // how far below the log's upper edge a message is
  (line) => line.textContent.endsWith("message 131")).getBoundingClientRect().top - log.getBoundingClientRect().top"""


@pytest.mark.parametrize("version", [v6, v7], ids=["v6", "v7"])
def test_scrolling_up_brings_earlier_messages_and_keeps_the_place(version, open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 180)
    with serving(lambda: version.Room(path)) as server:
        ann = open_page(server, viewport={"width": 600, "height": 500})
        join(ann, "Ann")
        sees_line(ann, "Cy", "message 180")
        assert ann.get_by_role("button", name="Earlier messages").count() == 1
        place = ann.evaluate(f"(log.scrollTop = 4, {PLACE})")
        sees_status(ann, "100 more messages are shown.")
        assert lines(ann) == numbers(31, 180)
        assert abs(ann.evaluate(PLACE) - place) < 2
        ann.evaluate("log.scrollTop = 0")
        sees_status(ann, "30 more messages are shown.")
        assert lines(ann) == numbers(1, 180)
        ann.get_by_role("log").get_by_text("There is nothing earlier.").wait_for()
        assert ann.get_by_role("button", name="Earlier messages").count() == 0


def test_earlier_messages_can_be_had_with_the_keyboard_alone(open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 250)
    with serving(lambda: v6.Room(path, keep=200)) as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "hello")  # from now on the history begins with message 52
        sees_line(ann, "Ann", "hello")
        ann.get_by_role("log").focus()
        ann.keyboard.press("Tab")
        assert ann.evaluate("document.activeElement.id") == "earlier"
        for first in (101, 52):
            ann.keyboard.press("Enter")
            wait_until(lambda first=first: lines(ann) == [*numbers(first, 250), "Ann: hello"])
            assert ann.evaluate("document.activeElement.id") == "earlier"
        ann.keyboard.press("Enter")
        sees_status(ann, "There is nothing earlier.")
        assert ann.get_by_role("button", name="Earlier messages").count() == 0
        assert ann.evaluate("document.activeElement.id") == "log"  # and not lost with the button
        assert ann.get_by_role("log").get_by_text("There is nothing earlier.").count() == 1


def test_after_a_loss_nothing_is_shown_twice_and_what_is_missing_can_be_had(open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 20)
    with serving(lambda: v6.Room(path)) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        sees_line(ann, "Cy", "message 20")
    for last, hole in ((50, None), (220, "Show the 120 messages missing here")):
        fill(path, int(lines(ann)[-1].split()[-1]) + 1, last)
        with serving(lambda: v6.Room(path), port=server.port):
            sees_line(ann, "Cy", f"message {last}")
            if hole:
                assert lines(ann) == numbers(1, 50) + numbers(171, 220)
                ann.get_by_role("button", name=hole).click()
                ann.get_by_role("button", name="Show the 20 messages missing here").click()
            wait_until(lambda last=last: lines(ann) == numbers(1, last))
            assert ann.locator(".hole").count() == 0
    assert ann.get_by_role("log").get_by_text("is not shown").count() == 0


def test_a_history_that_begins_anew_hides_nothing(open_page):
    with serving("v6") as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        say(ann, "hello")
        sees_line(ann, "Ann", "hello")
        say(ann, "how are you?")
        sees_line(ann, "Ann", "how are you?")
    with serving("v6", port=server.port):
        sees_status(ann, "Joined as Ann.")
        say(ann, "hello")
        ann.get_by_role("log").get_by_text("The room has begun a new history.").wait_for()
        wait_until(lambda: lines(ann) == ["Ann: hello", "Ann: how are you?", "Ann: hello"])


def test_numbers_far_above_those_of_a_new_history_do_not_hide_it(open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 200)
    with serving(lambda: v6.Room(path)) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        wait_until(lambda: lines(ann) == numbers(151, 200))
    with serving("v6", port=server.port) as server, listening(server) as program:
        sees_status(ann, "Joined as Ann.")
        has_members(server, 2)
        program.send(said("a new one", "Cy"))
        wait_until(lambda: lines(ann) == [*numbers(151, 200), "Cy: a new one"])
        assert ann.get_by_role("log").get_by_text("The room has begun a new history.").count() == 1


def test_the_page_holds_1000_messages_and_others_can_be_had_again(open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 40)
    with serving(lambda: v6.Room(path, limit=None)) as server, listening(server) as program:
        ann = open_page(server)
        join(ann, "Ann")
        has_members(server, 2)
        for number in range(41, 1101):
            program.send(said(f"message {number}", "Cy"))
        wait_until(lambda: lines(ann) == numbers(101, 1100))
        assert ann.get_by_role("button", name="Earlier messages").count() == 1
        ann.evaluate("log.scrollTop = 0")
        wait_until(lambda: lines(ann)[0] == "Cy: message 1")
        program.send(said("message 1101", "Cy"))
        wait_until(lambda: lines(ann)[-1] == "Cy: message 1101")
        shown = ann.evaluate("[...lines.children].filter((line) => line.seq).map((line) => line.seq)")
        assert 990 < len(shown) <= 1000 and shown == sorted(shown) and shown[-1] == 1101
        ann.locator(".hole").click()
        wait_until(lambda: lines(ann)[-100:] == numbers(1002, 1101))


def test_numbers_that_make_no_sense_do_no_harm(open_page):
    class Odd(v1.Room):
        async def broadcast(self, message):
            for number, seq in enumerate((0, -1, 1.5, "7", None, True, [2], 10**30, 9, 9)):
                frame = said(str(number), "Cy", seq=seq, id=number)
                for connection in self.connections:
                    await connection.send(frame)

    with serving(Odd) as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "hello")
        sees_line(ann, "Cy", "9")
        assert lines(ann) == [f"Cy: {number}" for number in range(10)]


# ---------------------------------------------------------------- going on where one was


def sees_news(page, words: str) -> None:
    page.locator("#lines .news").get_by_text(words, exact=True).wait_for()


def news(page) -> list[str]:
    """What the log says besides messages, with every number of seconds as 1."""
    texts = page.locator("#lines .news").all_text_contents()
    return [re.sub(r"\d+\u00a0s", "1 s", text) for text in texts]


AWAY = "You were away for 1 s."
NOT_SHOWN = f"{AWAY} What was said in the meantime is not shown."
LOST = "The room has lost its history. What was said before is not there any more."
SILENT = "#lines p[aria-live=off]"  # what a screen reader does not read out


def talk(port: int, first: int, last: int) -> None:
    """Cy comes, says all that, and goes once it is heard."""
    with connect(f"ws://127.0.0.1:{port}/chatroom", compression=None, proxy=None) as cy:
        for number in range(first, last + 1):
            cy.send(said(f"message {number}", "Cy"))
            cy.recv(timeout=AT_MOST)


def test_a_server_that_is_killed_and_started_again_has_kept_what_was_said_meanwhile(open_page, tmp_path):
    path = str(tmp_path / "chat.db")
    options = "--unlimited", "--data", path
    with process("v7", "--port", "0", *options) as (port, server):
        ann, bob = open_page(at(port), QUICK), open_page(at(port), QUICK)
        join(ann, "Ann")
        join(bob, "Bob")
        talk(port, 1, 10)
        for page in (ann, bob):
            sees_line(page, "Cy", "message 10")
        server.kill()
    fill(path, 11, 150)  # more than the last 50
    with process("v7", "--port", str(port), *options) as (_, server):
        for page in (ann, bob):
            wait_until(lambda page=page: lines(page) == numbers(1, 150))
        say(bob, "hello")
        sees_line(ann, "Bob", "hello")
        server.kill()
    with process("v7", "--port", str(port), *options):
        for page in (ann, bob):
            wait_until(lambda page=page: news(page) == [AWAY, AWAY])
        talk(port, 152, 160)
        for page in (ann, bob):
            wait_until(lambda page=page: lines(page) == [*numbers(1, 150), "Bob: hello", *numbers(152, 160)])
            assert page.locator(".hole").count() == 0


@pytest.mark.parametrize("version", ["v4", "v6", "v7"])
def test_a_page_whose_network_was_off_shows_what_it_can(version, open_page):
    room = PROMPT[version]()
    with serving(room) as server:
        ann, bob = open_page(server, QUICK), open_page(server)
        join(ann, "Ann")
        join(bob, "Bob")
        has_members(server, 2)
        say(bob, "hello")
        sees_line(ann, "Bob", "hello")
        ann.context.set_offline(True)
        run(hang_up(room.members()[0]))
        wait_until(lambda: state(ann) != "joined")
        talk(server.port, 1, 130)
        ann.context.set_offline(False)
        sees_status(ann, "Joined as Ann.")
        expected = {"v4": [], "v6": numbers(81, 130), "v7": numbers(1, 130)}[version]
        wait_until(lambda: lines(ann) == ["Bob: hello", *expected])
        assert news(ann) == [NOT_SHOWN if version == "v4" else AWAY]
        holes = ["Show the 80 messages missing here"] if version == "v6" else []
        assert ann.locator(".hole").all_text_contents() == holes
        say(ann, "I am back")
        sees_line(bob, "Ann", "I am back")


async def hang_up(connection) -> None:
    connection.transport.abort()


def test_a_connection_that_is_dead_without_a_word_is_given_up_when_the_network_is_back(open_page):
    with serving(v7.Room(limit=None)) as server:
        ann, bob = open_page(server, QUICK), open_page(server)
        join(ann, "Ann")
        join(bob, "Bob")
        say(bob, "hello")
        sees_line(ann, "Bob", "hello")
        ann.context.set_offline(True)
        assert state(ann) == "joined"
        talk(server.port, 1, 60)
        ann.context.set_offline(False)
        wait_until(lambda: lines(ann) == ["Bob: hello", *numbers(1, 60)] and news(ann) == [AWAY])


@pytest.mark.parametrize("version", ["v4", "v6", "v7"])
def test_who_was_away_from_an_empty_room_is_told_whether_it_shows_what_was_said(version, open_page):
    with serving(PROMPT[version]()) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        has_members(server, 1)
        ann.evaluate("socket.close()")
        wait_until(lambda: len(news(ann)) == 1)
        talk(server.port, 1, 1)
        sees_line(ann, "Cy", "message 1")
        assert news(ann) == [NOT_SHOWN if version == "v4" else AWAY]


def test_what_is_gone_for_good_is_said_in_its_place_and_cannot_be_asked_for(open_page, tmp_path):
    path = fill(tmp_path / "chat.db", 1, 20)
    with serving(lambda: v7.Room(path)) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        sees_line(ann, "Cy", "message 20")
    fill(path, 21, 120, keep=30)
    with serving(lambda: v7.Room(path), port=server.port):
        wait_until(lambda: lines(ann) == [*numbers(1, 20), *numbers(91, 120)])
    gone = "70 messages are gone for good: nobody has them any more."
    assert news(ann) == [AWAY, gone]
    fill(path, 121, 122, keep=1)
    with serving(lambda: v7.Room(path), port=server.port):
        wait_until(lambda: lines(ann)[-1] == "Cy: message 122")
    assert news(ann) == [AWAY, gone, AWAY, "1 message is gone for good: nobody has it any more."]
    order = ann.evaluate("[...lines.children].map((line) => line.textContent)")
    assert order.index("Cy: message 20") < order.index(gone) < order.index("Cy: message 91")
    assert ann.locator(".hole").count() == 0 and ann.get_by_role("button", name="Earlier messages").count() == 0
    assert ann.locator(".news[aria-live]").count() == 0  # a screen reader reads these out


def test_a_room_that_has_lost_its_history_numbers_anew_and_nothing_is_taken_for_what_was_before(open_page, tmp_path):
    old, new = fill(tmp_path / "old.db", 1, 60), fill(tmp_path / "new.db", 1, 120)
    with serving(lambda: v7.Room(old)) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        wait_until(lambda: lines(ann) == numbers(11, 60))
    with serving(lambda: v7.Room(new), port=server.port):
        wait_until(lambda: lines(ann) == numbers(11, 60) + numbers(71, 120))
        assert news(ann) == [AWAY, LOST]
        ann.evaluate("log.scrollTop = 0")
        wait_until(lambda: lines(ann) == numbers(11, 60) + numbers(1, 120))
        ann.evaluate("socket.close()")
        wait_until(lambda: news(ann) == [AWAY, LOST, AWAY])
        say(ann, "hello")
        sees_line(ann, "Ann", "hello")
        assert lines(ann) == numbers(11, 60) + numbers(1, 120) + ["Ann: hello"]
    with serving("v6", port=server.port):  # and one that knows nothing of all this
        sees_status(ann, "Joined as Ann.")
        say(ann, "hello")
        sees_news(ann, "The room has begun a new history.")
        sees_line(ann, "Ann", "hello")
        assert ann.evaluate("epoch") == ""


def test_what_comes_again_is_not_shown_again_not_even_if_the_log_has_dropped_it(open_page):
    with serving(v7.Room(limit=None)) as server:
        ann = open_page(server)
        join(ann, "Ann")
        talk(server.port, 1, 3)
        wait_until(lambda: lines(ann) == numbers(1, 3))
        has_members(server, 1)  # Cy has left
        ann.evaluate("drop(lines.firstElementChild)")
        for number in (3, 1):
            run(deliver(server, said(f"message {number}", "Cy", seq=number)))
        talk(server.port, 4, 4)
        wait_until(lambda: lines(ann) == numbers(2, 4) and news(ann) == [])


FROZEN = QUICK + "window.now = 5000; performance.now = () => now;"


def test_what_was_missed_is_not_read_out_and_what_is_said_then_is(open_page):
    with serving(v7.Room(limit=None)) as server, listening(server) as program:
        ann = open_page(server, FROZEN)
        join(ann, "Ann")
        has_members(server, 2)
        ann.context.set_offline(True)
        talk(server.port, 1, 100)
        ann.context.set_offline(False)
        wait_until(lambda: lines(ann) == numbers(1, 100))
        ann.evaluate("now += 1100")
        for _ in range(2):
            program.send(said("now", "Cy"))
        wait_until(lambda: len(lines(ann)) == 102)
        assert ann.locator(SILENT).count() == 100 == ann.locator("#lines p:not(:has(time)):not(.news)").count()


def test_what_comes_one_upon_the_other_belongs_together_and_a_pause_ends_it(open_page):
    with serving(v7.Room(limit=None)) as server, listening(server) as program:
        ann = open_page(server, FROZEN)
        join(ann, "Ann")
        has_members(server, 2)
        for number, passed in enumerate((900, 200, 200, 300, 100, 100)):
            ann.evaluate(f"now += {passed}")
            program.send(said(str(number), "Cy"))
            sees_line(ann, "Cy", str(number))
        assert ann.locator(SILENT).all_text_contents() == ["Cy: 0", "Cy: 1", "Cy: 2"]


def test_positions_that_make_no_sense_do_no_harm(open_page):
    odd = [{"epoch": 7, "since": 1}, {"epoch": "x"}, {"epoch": "x", "since": -1}, {"epoch": "x", "since": "1"}]
    gaps = [{"from": 1}, {"to": 3}, {"from": "1", "to": 3}, {"from": -1, "to": 3}, [], 3, "all", None]

    class Odd(v1.Room):
        async def handle(self, connection):
            for number, more in enumerate(odd):
                await connection.send(said(str(number), "Cy", **more))
            for gap in gaps:
                await connection.send(said("", "chatroom", epoch='\ud800&"', since=5, gap=gap))
            await super().handle(connection)

    with serving(Odd) as server:
        ann = open_page(server, QUICK)
        join(ann, "Ann")
        say(ann, "hello")
        sees_line(ann, "Ann", "hello")
        ann.evaluate("socket.close()")
        wait_until(lambda: news(ann) == [AWAY])
        wait_until(
            lambda: lines(ann) == [*map("Cy: {}".format, range(4)), "Ann: hello", *map("Cy: {}".format, range(4))]
        )


# ---------------------------------------------------------------- joining and leaving


def wants_to_join(request) -> bool:
    return request.path.partition("?")[0] == "/chatroom"


async def never_answer(_connection, request, _response):
    """For `websockets.serve(process_response=...)`, as is a Door: no answer to a request to join."""
    if wants_to_join(request):
        await asyncio.sleep(3600)


class Door:
    """Refuses every request to join while `says` is not None."""

    def __init__(self, status: HTTPStatus, text: str):
        self.says = status, text

    def __call__(self, connection, request, _response):
        if wants_to_join(request) and self.says:
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
        lost = ann.locator("#status[data-state=lost]")
        lost.get_by_text("The server says: The room is full. Next try in").wait_for()  # in how long, chance decides
        door.says = None
        sees_status(ann, "Joined as Ann.")


def test_an_evicted_page_says_why(open_page):
    with serving(Hasty) as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "hello")
        sees_status(ann, "The room has disconnected you. The server says: That was enough.")
        assert state(ann) == "refused"
        assert unheard(ann) == [("Ann: hello", "perhaps not sent")]


def test_a_lost_connection_comes_back_and_nothing_typed_is_lost(open_page):
    with serving("v3") as server:
        ann = open_page(server)
        join(ann, "Ann")
        say(ann, "one")
        sees_line(ann, "Ann", "one")
        ann.keyboard.type("half a sen")
    saw_status(ann, "The server has stopped.")
    assert state(ann) in ("lost", "connecting")
    ann.keyboard.type("tence")
    with serving("v3", port=server.port) as server:
        sees_status(ann, "Joined as Ann.")
        ann.get_by_role("log").get_by_text("What was said in the meantime is not shown.").wait_for()
        ann.keyboard.press("Enter")
        sees_line(ann, "Ann", "half a sentence")


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
        assert 0 <= min(one, other) and max(one, other) <= 1000 * longest and one != other


def test_the_longest_pauses_grow(open_page):
    with serving("v3") as server:
        ann = open_page(server, QUICK + "Math.random = () => 0.5;")
        join(ann, "Ann")
    becomes(ann, "pauses.length >= 7")
    assert ann.evaluate("pauses.slice(0, 7)") == [500, 1000, 2000, 4000, 8000, 15_000, 15_000]


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
    with serving(held(v4.Room)(), port=server.port):
        join_now = ann.get_by_role("button", name="Join now")
        join_now.click()
        ann.get_by_role("log").get_by_text("You were away for").wait_for()
        say(ann, "x" * 500)
    sees_status(ann, "Next try in")
    assert ann.evaluate("document.documentElement.scrollWidth") <= width
    sees_fates(ann, (f"Ann: {'x' * 500}", "perhaps not sent"))
    for control in (join_now, ann.get_by_role("button", name="Send", exact=True), ann.get_by_label("Your name")):
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 44  # as large as a thumb
    ratios = ann.evaluate(CONTRAST)
    assert len(ratios) > 10 and [pair for pair in ratios if pair[1] < 4.5] == []


def test_the_log_follows_unless_one_reads_further_up(open_page):
    with serving("v1") as server, listening(server) as program:
        ann = open_page(server, viewport={"width": 600, "height": 400})
        join(ann, "Ann")
        has_members(server, 2)
        for number in range(1100):
            program.send(said(str(number), "Cy"))
        becomes(ann, "lines.textContent.endsWith(': 1099')")
        assert len(lines(ann)) == 1000 and lines(ann)[0] == "Cy: 100"  # it holds no more
        assert ann.evaluate("log.scrollHeight - log.scrollTop - log.clientHeight") < 8
        ann.evaluate("log.scrollTop = 100")
        becomes(ann, "!followingLog")
        program.send(said("one more", "Cy"))
        sees_line(ann, "Cy", "one more")
        assert ann.evaluate("log.scrollTop") < 200


# ---------------------------------------------------------------- when all come back at once

HALF = QUICK + "Math.random = () => 0.5;"


def test_when_a_room_stops_the_page_comes_back_in_the_time_that_the_room_has_told(open_page):
    with serving(v8.Room(limit=None, returns=0.01)) as server:  # one who is here: 101 s
        ann = open_page(server, HALF.replace("ms / 1000", "ms / 20"))
        join(ann, "Ann")
    saw_status(ann, "The server is starting anew. The server says: come back within 101 s. Next try in 51\u00a0s.")
    wait_until(lambda: len(ann.evaluate("pauses")) >= 2)
    assert ann.evaluate("pauses.slice(0, 2)") == [51_000, 1000]  # then as ever: half of 1 s, of 2 s, ...
    with serving(v8.Room(limit=None), port=server.port):
        sees_status(ann, "Joined as Ann.")


def test_when_a_room_is_killed_the_page_comes_back_in_the_time_that_it_was_told_before(open_page):
    with process("v8", "--port", "0") as (port, server):
        ann = open_page(at(port), HALF)
        join(ann, "Ann")
        becomes(ann, "toldHere")
        server.kill()
        wait_until(lambda: ann.evaluate("pauses"))
        assert ann.evaluate("pauses[0]") == 1500  # half way from 1 s to 2 s


@pytest.mark.parametrize("told, least", [("7", 7000), ("99999", 300_000), ("soon", 0)])
def test_when_a_room_refuses_somebody_at_the_door_the_page_tries_again_after_the_time_that_it_is_told(
    told, least, open_page
):
    class Full(v8.Room):
        def process_request(self, connection, request):
            response = connection.respond(503, "Too many are coming at once.\n")
            response.headers["Retry-After"] = told
            return response

    with serving(Full()) as server:
        ann = open_page(server, HALF)
        ann.get_by_label("Your name").fill("Ann")
        ann.get_by_role("button", name="Join").click()
        wait_until(lambda: len(ann.evaluate("pauses")) >= 2)
        expected = [500, 1000] if told == "soon" else [least + 500] * 2
        assert ann.evaluate("pauses.slice(0, 2)") == expected


def test_a_room_that_tells_once_more_where_one_is_disturbs_nothing(open_page):
    with serving(v8.Room(limit=None)) as server, listening(server) as program:
        ann = open_page(server)
        join(ann, "Ann")
        has_members(server, 2)
        program.send(said("one", "Cy"))
        sees_line(ann, "Cy", "one")
        reader = server.room.readers[next(each for each in server.room.readers if server.room.readers[each].resumes)]
        reader.told = 0.1
        run(tell(server.room, reader))
        program.send(said("two", "Cy"))
        sees_line(ann, "Cy", "two")
        assert lines(ann) == ["Cy: one", "Cy: two"] and news(ann) == []


async def tell(room, reader) -> None:
    room.tell_more(reader)


# ---------------------------------------------------------------- several servers


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_page_goes_on_at_another_server_when_its_own_ends(how, open_page, tmp_path):
    path = str(tmp_path / "chat.db")
    with serving(v9.Room(path, limit=None)) as other:
        with process("v9", "--port", "0", "--unlimited", "--data", path, "--other", other.url) as (port, own):
            ann, bob = open_page(at(port), QUICK), open_page(other, QUICK)
            join(ann, "Ann")
            join(bob, "Bob")
            say(ann, "one")
            for page in (ann, bob):
                sees_line(page, "Ann", "one")
            with connect(other.url, compression=None, proxy=None) as cy:
                own.kill() if how == "killed" else own.terminate()
                cy.send(said("meanwhile", "Cy"))
                sees_status(ann, f"Joined as Ann, at 127.0.0.1:{other.port}.")
        say(ann, "two")
        say(bob, "three")
        for page in (ann, bob):
            sees_line(page, "Ann", "two")
            sees_line(page, "Bob", "three")
        assert sorted(lines(ann)) == sorted(lines(bob)) == ["Ann: one", "Ann: two", "Bob: three", "Cy: meanwhile"]
        assert ann.locator(".hole").count() == 0 and unheard(ann) == [] and ann.evaluate("pauses[0]") < 2000
        ann.context.close()  # before it has lost this one, too


@contextmanager
def in_turn(browser, path: str):
    """A page whose own server has gone, and at whose other one nobody listens, for three tries; its `.complaints`."""
    with serving(v9.Room(path, limit=None), others=["ws://127.0.0.1:1/chatroom"]) as own:
        context = browser.new_context()
        context.set_default_timeout(MS)
        context.add_init_script(QUICK)
        page = context.new_page()
        page.own, page.complaints = own, []
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.goto(own.page)
        join(page, "Ann")
        say(page, "one")
        sees_line(page, "Ann", "one")
    try:
        wait_until(lambda: len(page.evaluate("pauses")) >= 3)
        yield page
    finally:
        context.close()


def test_a_page_tries_its_servers_in_turn_and_comes_back_to_its_own(browser, tmp_path):
    path = str(tmp_path / "chat.db")
    with in_turn(browser, path) as ann, serving(v9.Room(path, limit=None), port=ann.own.port):
        sees_status(ann, "Joined as Ann.")
        say(ann, "two")
        sees_line(ann, "Ann", "two")
        assert lines(ann) == ["Ann: one", "Ann: two"]


def test_a_page_that_tries_another_server_does_nothing_that_its_policy_forbids(browser, tmp_path):
    with in_turn(browser, str(tmp_path / "chat.db")) as ann:
        assert [complaint for complaint in ann.complaints if not complaint.startswith(FAILURES)] == []
