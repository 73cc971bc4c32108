"""The chat panel, without a browser: its widgets are driven by the messages that a front end sends."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from html import escape

import nbformat
import pytest
from nbclient import NotebookClient
from websockets.asyncio.server import serve as serve_anything

from chatroom_lib import ChatPanel, Server, chat, run, serve, stop_all
from chatroom_lib.clients.connect import asking_for_the_rest, reset
from chatroom_lib.message import Gap, PageRequest, Position, decode_request
from chatroom_lib.notebook import chat_session
from chatroom_lib.notebook.chat_log import LINE_LENGTH, NAME_LENGTH, Line, gone_for_good
from chatroom_lib.notebook.chat_panel import _panels
from chatroom_lib.notebook.chat_session import MAX_LINES, ChatSession, NotJoined
from chatroom_lib.rooms import v1, v3, v3_2, v4, v6, v7, v8, v9
from chatroom_lib.runtime.background import background_loop, submit
from tests.helpers import (
    A_MOMENT,
    AT_MOST,
    PROMPT,
    assert_nothing_was_printed,
    fill,
    hears,
    held,
    in_a_loop,
    joining,
    process,
    said,
    stand_still,
    until,
)  # fmt: skip

VIEW = "application/vnd.jupyter.widget-view+json"
HELLO = "<b><bdi>Alice</bdi></b>: <bdi>hello</bdi>"
UNPLEASANT = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture(autouse=True)
def all_leave_and_nothing_is_printed(capfd, caplog):
    yield
    for panel in list(_panels):
        run(panel.leave(), timeout=AT_MOST)
        panel.close()
    run(stop_all(), timeout=AT_MOST)
    assert_nothing_was_printed(capfd, caplog)


# ---------------------------------------------------------------- what a front end sends


def send_event(widget, **data) -> None:
    widget._handle_msg({"content": {"data": data}, "buffers": []})


def typed(field, text: str) -> None:
    """The field has lost the focus, or Enter was pressed: its new text comes."""
    send_event(field, method="update", state={"value": text}, buffer_paths=[])


def enter(field, text: str | None = None) -> None:
    """Enter is pressed; then the text comes, if it has changed."""
    send_event(field, method="custom", content={"event": "submit"})
    if text is not None:
        typed(field, text)


def drawn(panel) -> str:
    return panel.status_html.value + panel.log_html.value


async def is_drawn(panel, text: str) -> None:
    await until(lambda: text in drawn(panel))


async def joined(server: Server, *names: str):
    """Panels that are all in."""
    panels = chat(server, *names)
    for panel in panels:
        assert await panel.join()
    return panels


# ---------------------------------------------------------------- bad input


BAD_ADDRESSES = [
    *("", "127.0.0.1", "http://x/", "ws://", "ws://x:99999999/", "ws://x:0/", "ws://x/#y"),
    *(None, 7, b"ws://x"),
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=repr)
def test_a_bad_address_is_named(address):
    with pytest.raises(ValueError, match="is not the address of a room; give a running server, or ws://"):
        ChatPanel(address, "Ann")


@pytest.mark.parametrize("name", ["", " ", None, 7, "x" * (NAME_LENGTH + 1), "a\nb", "\ud800"], ids=ascii)
def test_a_bad_name_is_named(name):
    with pytest.raises(ValueError, match="name"):
        ChatPanel("ws://127.0.0.1:1/chatroom", name)


@pytest.mark.parametrize("names", [[], ["Ann", "Ann"], ["Ann", " Ann "]])
def test_names_come_once_each(names):
    with pytest.raises(ValueError, match="each once"):
        chat("ws://127.0.0.1:1/chatroom", *names)
    assert _panels == []


def test_a_server_that_was_never_started_has_no_address():
    with pytest.raises(ValueError, match="give a running server"):
        ChatPanel(Server("v1"), "Ann")


# ---------------------------------------------------------------- talking


@pytest.mark.parametrize("room", ["v1", PROMPT["v4"]], ids=["v1", "v4"])  # test_server.py tries every version
@in_a_loop
async def test_two_panels_talk(room):
    server = await serve(room)
    alice, bob = panels = chat(server, "Alice", "Bob")
    await alice.say("hello")
    await bob.heard("hello")
    enter(bob.message, "hello, Alice")
    await alice.heard("hello, Alice")
    for panel in panels:
        assert panel.state == "joined" and panel.lines[0] == f"You have joined as {panel.name}."
        assert panel.lines[-2:] == ["Alice: hello", "Bob: hello, Alice"]
    assert server.errors == []


@in_a_loop
async def test_the_panels_are_joined_in_the_order_given():
    server = await serve("v3")
    names = ["Cy", "Ann", "Bob", "Dan"]
    panels = chat(server.url, *names)
    await panels[0].say("all here?")
    assert [panel.state for panel in panels] == 4 * ["joined"] and len(server.room.members()) == 4
    assert len(panels) == 4 and [panel.name for panel in panels] == names
    for panel in panels:
        await panel.heard("all here?")
    others = [f"{name} has joined." for name in names[1:]]
    assert panels[0].lines == ["You have joined as Cy.", *others, "Cy: all here?"]


def from_here(act):
    act()


def from_another_thread(act):
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def from_the_background(act):
    async def call():
        act()

    run(call())


@pytest.mark.parametrize("do", [from_here, from_another_thread, from_the_background])
@pytest.mark.real
def test_the_widgets_work_from_any_thread(do):
    async def wait(condition):
        await until(condition)

    server = run(serve("v3"))
    alice, bob = run(joined(server, "Alice", "Bob"))
    do(lambda: enter(alice.message, "hello"))
    run(bob.heard("hello"))
    do(lambda: alice.leave_button.click())
    run(wait(lambda: alice.state == "left" and not alice.join_button.disabled))
    do(lambda: alice.join_button.click())
    run(wait(lambda: alice.state == "joined"))
    do(lambda: (typed(alice.message, "again"), alice.send_button.click()))
    run(bob.heard("again"))


@in_a_loop
async def test_the_coroutines_work_on_the_background_loop_too():
    server = await serve("v3")

    async def there():
        alice, bob = chat(server, "Alice", "Bob")
        await alice.say("hello")
        await bob.heard("hello")
        await bob.leave()
        return await bob.join()

    assert await submit(there())


@in_a_loop
async def test_a_message_that_was_not_heard_is_named():
    alice = ChatPanel(await serve("v1"), "Alice")
    with pytest.raises(TimeoutError, match="Alice has not heard 'hello' within 0.05 s"):
        await alice.heard("hello", timeout=0.05)
    assert alice.session.listeners == []


@in_a_loop
async def test_a_long_text_is_shown_in_part_and_heard():
    alice = ChatPanel(await serve("v1"), "Alice")
    text = "x" * (2 * LINE_LENGTH)
    await alice.say(text)
    await alice.heard(text)
    await alice.heard(text)  # and again, from the log
    assert len(alice.lines[-1]) == len("Alice: ") + LINE_LENGTH


@pytest.mark.parametrize("content", [None, b"hello", "half \ud83d"], ids=ascii)
@in_a_loop
async def test_only_text_is_sent(content):
    alice = ChatPanel(await serve("v1"), "Alice")
    with pytest.raises(ValueError, match="message"):
        await alice.say(content)
    assert alice.state == "joined"


# ---------------------------------------------------------------- the field


async def heard_by(panel, until_text: str) -> list[str]:
    """What others have said so far, up to a last text that is said now."""
    await panel.say(until_text)
    await panel.heard(until_text)
    return [line for line in panel.lines if line.startswith("Alice: ")]


@in_a_loop
async def test_the_text_comes_after_enter_and_may_come_twice():
    alice, bob = await joined(await serve("v1"), "Alice", "Bob")
    for _ in range(2):
        enter(alice.message, "hello")
        await until(lambda: alice.message.value == "")
    assert await heard_by(bob, "end") == 2 * ["Alice: hello"]


@in_a_loop
async def test_losing_the_focus_sends_nothing_and_enter_later_does():
    alice, bob = await joined(await serve("v1"), "Alice", "Bob")
    typed(alice.message, "hel")
    assert await heard_by(bob, "one") == []
    enter(alice.message, "hello")  # not "hel"
    await bob.heard("hello")
    await until(lambda: alice.message.value == "")
    typed(alice.message, "and this")
    enter(alice.message)
    await bob.heard("and this")
    assert await heard_by(bob, "two") == ["Alice: hello", "Alice: and this"]


@in_a_loop
async def test_enter_on_nothing_sends_nothing():
    alice, bob = await joined(await serve("v1"), "Alice", "Bob")
    enter(alice.message)
    await until(lambda: alice.message.timer)
    await until(lambda: not alice.message.timer)  # it has waited for a text
    typed(alice.message, "then typed, and the focus lost")
    assert await heard_by(bob, "end") == []
    enter(alice.message, "  ")
    assert await heard_by(bob, "really") == [] and alice.state == "joined"


@in_a_loop
async def test_enter_and_send_pressed_twice_send_once():
    alice, bob = await joined(await serve("v1"), "Alice", "Bob")
    enter(alice.message, "one")
    enter(alice.message)
    await until(lambda: alice.message.value == "" and not alice.message.timer)
    typed(alice.message, "two")
    alice.send_button.click()
    alice.send_button.click()
    await until(lambda: alice.message.value == "" and not alice.message.timer)
    assert await heard_by(bob, "end") == ["Alice: one", "Alice: two"]


@in_a_loop
async def test_a_text_that_cannot_be_sent_stays_in_the_field_and_the_log_says_why():
    server = await serve("v1")
    alice = ChatPanel(server, "Alice")
    await alice.join()
    await alice.leave()
    with pytest.raises(NotJoined, match="Alice is not in the room. Join first."):
        await alice.say("hello")
    enter(alice.message, "hello")
    await is_drawn(alice, "“hello” was not sent. Alice is not in the room.")
    assert alice.message.value == "hello"
    await alice.join()
    enter(alice.message)
    await alice.heard("hello")
    await until(lambda: alice.message.value == "")


# ---------------------------------------------------------------- joining, leaving, losing


@in_a_loop
async def test_the_buttons_say_what_can_be_done():
    server = await serve("v1")
    alice = ChatPanel(server, "Alice")
    await alice.join()
    await until(lambda: alice.join_button.disabled and not alice.leave_button.disabled)
    assert await alice.join()  # once more does nothing
    await alice.leave()
    await until(lambda: alice.leave_button.disabled and not alice.join_button.disabled)
    assert alice.join_button.description == "Join" and alice.status == "You have left."
    await alice.leave()
    assert alice.lines == ["You have joined as Alice.", "You have left."] and alice.state == "left"


@in_a_loop
async def test_the_name_field_changes_the_name_at_the_next_join():
    alice, bob = await joined(await serve("v3"), "Alice", "Bob")
    typed(alice.name_field, " Carol ")
    await alice.say("still Alice")
    await bob.heard("still Alice")
    await alice.leave()
    enter(alice.name_field)
    await until(lambda: alice.state == "joined")
    await alice.say("now Carol")
    await bob.heard("now Carol")
    said_so = [line for line in bob.lines if line.split()[0] in ("Alice", "Alice:", "Carol", "Carol:")]
    assert said_so == ["Alice: still Alice", "Alice has left.", "Carol has joined.", "Carol: now Carol"]
    await alice.leave()
    typed(alice.name_field, "x" * 99)
    alice.join_button.click()
    await is_drawn(alice, "has 99 characters; use at most 40")
    with pytest.raises(ValueError, match="99 characters"):
        await alice.join()
    assert alice.state == "left" and alice.name == "Carol"


@in_a_loop
async def test_a_server_that_stops_is_named_and_can_be_joined_again():
    server = await serve("v1")
    alice = ChatPanel(server, "Alice")
    await alice.join()
    await server.stop()
    await is_drawn(alice, "Connection lost: the server has stopped. Start it again, then join again.")
    assert alice.state == "lost" and alice.join_button.description == "Join again"
    assert not await alice.join()
    assert alice.status.startswith(f"Could not join: nobody answers at 127.0.0.1:{server.port}. Start ")
    await serve("v1")  # as the same cell does when it is run again: on the same port
    await until(lambda: not alice.join_button.disabled)
    alice.join_button.click()
    await until(lambda: alice.state == "joined")
    await alice.say("back")
    await alice.heard("back")


@in_a_loop
async def test_the_log_reports_a_reset():
    server = await serve("v1")
    alice = ChatPanel(server, "Alice")
    await alice.join()

    async def cut():
        reset(server.room.members()[0])

    await submit(cut())
    await is_drawn(alice, "Connection lost: the connection broke. Check that the server is running, then join again.")


@in_a_loop
async def test_leaving_while_joining_ends_it():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        alice = ChatPanel(f"ws://127.0.0.1:{silent.getsockname()[1]}/", "Alice")
        await until(lambda: alice.session.visit)
        assert alice.state == "joining" and not alice.leave_button.disabled
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await alice.join()  # an interrupted cell interrupts only its waiting
        assert alice.state == "joining"
        await alice.leave()
        assert alice.state == "left" and alice.lines == ["You have left."]


@in_a_loop
async def test_a_server_that_does_not_answer_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        alice = ChatSession([url], "Alice", changed=lambda: None, connect_timeout=0.1)
        assert not await submit(alice.join("Alice"))
        assert "no answer from 127.0.0.1" in alice.status and alice.state == "lost"


@in_a_loop
async def test_a_wrong_path_and_an_unknown_host_are_named(monkeypatch):
    server = await serve("v1")
    wrong = ChatPanel(server.url.replace("chatroom", "chat"), "Alice")
    assert not await wrong.join()
    assert "status 404. The chat page is at /, the room at /chatroom." in wrong.status

    async def unknown(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(background_loop(), "getaddrinfo", unknown)
    nowhere = ChatPanel("ws://nowhere.invalid/chatroom", "Alice")
    assert not await nowhere.join()
    assert nowhere.status.startswith("Could not join: there is no host nowhere.invalid. Check the address")


@in_a_loop
async def test_whoever_joins_again_in_the_moment_of_a_failure_is_told_how_that_ends():
    failed = asyncio.Event()

    def changed():
        if session.state == "lost":
            failed.set()

    async def join_again() -> bool:
        await failed.wait()  # the visit has ended, and its callbacks have not run yet
        assert session.visit.done()
        return await session.join("Ann")

    server = await Server("v1").start()
    session = ChatSession([server.url.replace("chatroom", "chat")], "Ann", changed)
    again = asyncio.create_task(join_again())
    try:
        await session.join("Ann")
        assert not await again and session.state == "lost" and "status 404" in session.status
    finally:
        await server.stop()


# ---------------------------------------------------------------- rooms that behave badly


class Scripted(v1.Room):
    """Sends what it is told to, as it is, and closes."""

    frames: list = []
    close = 1000, ""

    async def handle(self, connection):
        self.connections.append(connection)
        for frame in self.frames:
            await connection.send(frame)
        await connection.close(*self.close)


@pytest.mark.parametrize(
    "code, words",
    [(1000, "the room ended the connection"), (1007, "did not accept what you sent"), (3333, "with code 3333")],
)
@in_a_loop
async def test_a_close_is_reported_with_its_reason_escaped(code, words):
    room = Scripted()
    room.close = code, UNPLEASANT
    alice = ChatPanel(await serve(room), "Alice")
    await alice.join()
    await is_drawn(alice, words)
    await until(lambda: alice.state == "lost")
    assert f"The server says: {UNPLEASANT}" in alice.status
    assert "<img" not in drawn(alice) + alice._repr_mimebundle_()["text/html"]


@in_a_loop
async def test_frames_that_are_not_messages_are_reported_and_do_no_harm():
    room = Scripted()
    half = r'{"token": "Ann", "content": "\ud800"}'
    room.frames = ["hello", b"\x00", "[]", '{"token": "Ann"}', half, said("hello")]
    alice = ChatPanel(await serve(room), "Alice")
    await alice.heard("hello")
    assert [line for line in alice.lines if "not a message" in line][0].endswith("is not a message: not JSON.")
    assert sum("not a message" in line for line in alice.lines) == 5


@in_a_loop
async def test_names_and_texts_are_escaped():
    room = Scripted()
    refusal = said(UNPLEASANT, token="chatroom", refused=UNPLEASANT)
    room.frames = [said(UNPLEASANT, token=UNPLEASANT), refusal, said("end")]
    alice, bob = chat(await serve(room), "Alice", UNPLEASANT)
    await bob.heard("end")
    await alice.heard("end")
    await until(lambda: bob.log_html.value.count("</p>") >= 5 and bob.state == "lost")
    for panel in (alice, bob):
        for html in (drawn(panel), panel._repr_mimebundle_()["text/html"]):
            assert "<img" not in html and "&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#x27;" in html
        assert f"{UNPLEASANT}: {UNPLEASANT}" in panel.lines


@in_a_loop
async def test_names_from_elsewhere_stay_on_their_line_and_short():
    room = Scripted()
    names = {"one": "x" * 10_000, "two": "a\nb", "three": "", "end": "Ann"}
    room.frames = [said(content, token=name) for content, name in names.items()]
    alice = ChatPanel(await serve(room), "Alice")
    await alice.heard("end")
    shown = [line.partition(":")[0] for line in alice.lines if line.endswith((*names,))]
    assert shown == ["x" * (NAME_LENGTH - 1) + "…", "a b", "somebody", "Ann"]


@in_a_loop
async def test_what_others_say_does_nothing_but_stand_there_when_a_panel_is_printed():
    room = Scripted()
    room.frames = [
        said("hi\n  Bob: I agree\r\x1b[2J\x00", token="M\x1b[1mal\u202e"),
        said("می\u200cخواهم", token="Ann"),
    ]
    alice = ChatPanel(await serve(room), "Alice")
    await alice.heard("می\u200cخواهم")
    printed = str(alice).split("\n")
    assert printed[2:6] == [
        "  M\ufffd[1mal\ufffd: hi",
        "        Bob: I agree",
        "      \ufffd[2J\ufffd",
        "  Ann: می\u200cخواهم",
    ]


class Counting(v1.Room):
    def members(self):
        raise ZeroDivisionError


class Odd(v1.Room):
    def members(self):
        return [*super().members(), "me too"]


@pytest.mark.parametrize(
    "room, people, problem",
    [(Counting, None, "raised ZeroDivisionError"), (Odd, 2, "one of its items is 'me too'")],
)
@in_a_loop
async def test_a_room_whose_members_are_broken_can_be_chatted_in_and_the_log_says_so_once(room, people, problem):
    server = await serve(room)
    alice = ChatPanel(server, "Alice")
    await alice.say("hello")
    await alice.heard("hello")
    assert alice.session.people == people
    told = [line for line in alice.lines if "members() must list connections, and " + problem in line]
    assert len(told) == 1 and told[0].startswith("Cannot tell who is in the room: ")
    await alice.leave()
    server.room.members = list


@in_a_loop
async def test_a_refusal_is_reported():
    alice, bob = await joined(await serve(v3_2.Room), "Alice", "Bob")
    enter(alice.message, "one")
    await bob.heard("one")
    enter(alice.message, "two")
    await is_drawn(alice, "“two” was not sent. The room says: Not sent. Please wait 1 s.")
    assert "Alice: one" in alice.lines and "Alice: two" not in alice.lines
    assert not any("two" in line for line in bob.lines)


# ---------------------------------------------------------------- sending until heard


@pytest.mark.parametrize("version", [v4, v6], ids=["v4, without ids", "v6"])
@in_a_loop
async def test_what_one_says_is_shown_as_being_sent_until_it_is_heard(version):
    room = held(version.Room)()
    alice, bob = await joined(await serve(room), "Alice", "Bob")
    for _ in range(2):
        await alice.say("hello")
    await alice.say(UNPLEASANT)
    sending = f"<b><bdi>Alice</bdi></b>: <bdi>{escape(UNPLEASANT)}</bdi> <i>sending …</i>"
    await is_drawn(alice, sending)
    assert not any("hello" in line for line in alice.lines) and alice.log_html.value.count("sending …") == 3
    assert sending in alice.transcript_html() and str(alice).endswith(f"  Alice: {UNPLEASANT} (sending …)")
    assert alice.doubtful.layout.display == "none"
    await submit(in_loop(room.released.set))
    for panel in (alice, bob):
        await panel.heard(UNPLEASANT)
        assert panel.lines[-3:] == ["Alice: hello", "Alice: hello", f"Alice: {UNPLEASANT}"]
    await until(lambda: "sending" not in drawn(alice))


async def in_loop(act) -> None:
    act()


class Absent(v1.Room):
    """Loses the first message, and the connection of who said it."""

    lost = False

    async def broadcast(self, message):
        if self.lost:
            return await super().broadcast(message)
        self.lost = True
        self.connections.pop(0).transport.abort()


@in_a_loop
async def test_a_room_without_numbers_is_told_again_only_by_a_person():
    server = await serve(Absent)
    alice, bob = await joined(server, "Alice", "Bob")
    await alice.say("hello")
    await is_drawn(alice, "<bdi>hello</bdi> <i>perhaps not sent</i>")
    await until(lambda: alice.doubtful.layout.display == "" and alice.again_button.disabled)
    assert await alice.join()
    await bob.say("who was that?")
    await alice.heard("who was that?")
    assert "<i>perhaps not sent</i>" in drawn(alice) and "Alice: hello" not in bob.lines
    await until(lambda: not alice.again_button.disabled)
    alice.again_button.click()
    await alice.heard("hello")
    await bob.heard("hello")
    await until(lambda: alice.doubtful.layout.display == "none")
    assert alice.lines.count("Alice: hello") == bob.lines.count("Alice: hello") == 1


@in_a_loop
async def test_what_is_doubtful_can_be_removed():
    alice = ChatPanel(await serve(Absent), "Alice")
    await alice.say("hello")
    await until(lambda: alice.doubtful.layout.display == "")
    alice.discard_button.click()
    await until(lambda: "perhaps" not in drawn(alice) and alice.doubtful.layout.display == "none")


@pytest.mark.parametrize("version", ["v6", "v7"])
@in_a_loop
async def test_what_a_kill_has_swallowed_is_said_again_under_its_id_and_heard_once(version, tmp_path):
    data = "--data", str(tmp_path / "chat.db")
    with process(version, "--port", "0", *data) as (port, server):
        alice, bob = await joined(f"ws://127.0.0.1:{port}/chatroom", "Alice", "Bob")
        await alice.say("one")
        await bob.heard("one")
        await alice.heard("one")
        stand_still(server)
        await alice.say("two")
        await is_drawn(alice, "<bdi>two</bdi> <i>sending …</i>")
        server.kill()
        await is_drawn(alice, "<bdi>two</bdi> <i>perhaps not sent</i>")
        await until(lambda: bob.state == "lost")
    with process(version, "--port", str(port), *data):
        for panel in (alice, bob):
            assert await panel.join()
        for panel in (alice, bob):
            await panel.heard("two")
        await bob.say("end")
        await alice.heard("end")
        await bob.heard("end")
        for panel in (alice, bob):
            heard = [line for line in panel.lines if line.startswith(("Alice:", "Bob:"))]
            assert heard == ["Alice: one", "Alice: two", "Bob: end"]
            await panel.leave()


@in_a_loop
async def test_what_the_room_did_not_accept_is_not_said_again_by_itself(tmp_path):
    class Picky(v6.Room):
        async def read(self, connection):
            async for frame in connection:
                request = decode_request(frame)
                if isinstance(request, PageRequest):
                    await self.send_page(connection, request)
                elif request.content == "no":
                    return await connection.close(1008, "No.")

    path = fill(tmp_path / "chat.db", 1, 3)
    alice = ChatPanel(await serve(lambda: Picky(path)), "Alice")
    await alice.say("no")
    await is_drawn(alice, "<bdi>no</bdi> <i>perhaps not sent</i>")
    assert await alice.join()
    await alice.say("and this?")
    await is_drawn(alice, "<bdi>and this?</bdi> <i>sending …</i>")
    assert alice.state == "joined" and "<bdi>no</bdi> <i>perhaps not sent</i>" in drawn(alice)


@in_a_loop
async def test_what_is_refused_is_no_longer_being_sent():
    alice = ChatPanel(await serve(lambda: v6.Room(limit=0.001, burst=1)), "Alice")
    for text in ("one", "two"):
        await alice.say(text)
    await is_drawn(alice, "“two” was not sent. The room says: Not sent. Please wait")
    await alice.heard("one")
    assert alice.session.unheard == () and "Alice: two" not in alice.lines


# ---------------------------------------------------------------- the history


def numbers(first: int, last: int) -> list[str]:
    return [f"Cy: message {number}" for number in range(first, last + 1)]


def messages(panel) -> list[str]:
    return [line for line in panel.lines if line.startswith("Cy: ")]


@in_a_loop
async def test_a_newcomer_gets_the_last_messages_and_earlier_ones_when_asked(tmp_path):
    path = fill(tmp_path / "chat.db", 1, 120)
    alice = ChatPanel(await serve(lambda: v6.Room(path)), "Alice")
    await alice.heard("message 120")
    assert alice.lines == ["You have joined as Alice.", *numbers(71, 120)]
    for first in (21, 1):
        await until(lambda: alice.earlier_button.layout.display == "" and not alice.earlier_button.disabled)
        alice.earlier_button.click()
        await until(lambda first=first: messages(alice) == numbers(first, 120))
    await until(lambda: alice.earlier_button.disabled)
    await alice.say("hello")
    await alice.heard("hello")
    assert alice.lines[-1] == "Alice: hello"


@in_a_loop
async def test_a_history_that_has_forgotten_the_first_messages_says_so(tmp_path):
    path = fill(tmp_path / "chat.db", 1, 60)
    alice = ChatPanel(await serve(lambda: v6.Room(path, keep=50)), "Alice")
    await alice.say("hello")  # now it begins with message 12
    await alice.heard("hello")
    await until(lambda: not alice.earlier_button.disabled)
    assert messages(alice) == numbers(11, 60)
    alice.earlier_button.click()
    await until(lambda: alice.earlier_button.disabled)
    assert messages(alice) == numbers(11, 60)


@in_a_loop
async def test_a_room_without_numbers_has_no_earlier_messages():
    alice = ChatPanel(await serve("v1"), "Alice")
    await alice.say("hello")
    await is_drawn(alice, HELLO)
    assert alice.earlier_button.layout.display == "none"


@in_a_loop
async def test_after_a_loss_nothing_comes_twice_and_what_is_missing_can_be_had(tmp_path):
    path = fill(tmp_path / "chat.db", 1, 20)
    server = await serve(lambda: v6.Room(path))
    alice = ChatPanel(server, "Alice")
    await alice.heard("message 20")
    for first, last, missing in ((21, 40, 0), (41, 130, 40)):
        await server.stop()
        await until(lambda: alice.state == "lost")
        fill(path, first, last)
        server = await Server(lambda: v6.Room(path), port=server.port).start()
        assert await alice.join()
        await alice.heard(f"message {last}")
        if missing:
            assert messages(alice) == numbers(1, 40) + numbers(81, 130)
            await is_drawn(alice, f"{missing} messages are missing here.")
            await until(lambda: not alice.earlier_button.disabled)
            alice.earlier_button.click()
        await until(lambda last=last: messages(alice) == numbers(1, last))
    await until(lambda: "missing" not in drawn(alice) and alice.earlier_button.disabled)
    await alice.leave()
    await server.stop()


@in_a_loop
async def test_a_history_that_begins_anew_hides_nothing():
    alice = ChatPanel(await serve("v6"), "Alice")
    for text in ("hello", "how are you?"):
        await alice.say(text)
        await alice.heard(text)
    await run_again(alice)
    await alice.say("hello")
    await until(lambda: alice.lines.count("Alice: hello") == 2)
    assert alice.lines[-2:] == ["The room has begun a new history.", "Alice: hello"]
    assert alice.lines.count("The room has begun a new history.") == 1


async def run_again(panel) -> None:
    """Run the cell again that serves the room: with an empty history, on the same port."""
    await serve("v6")
    await until(lambda: panel.state == "lost")
    assert await panel.join()


@in_a_loop
async def test_numbers_far_above_those_of_a_new_history_do_not_hide_it(tmp_path):
    path = fill(tmp_path / "chat.db", 1, 100)
    alice = ChatPanel(await serve(lambda: v6.Room(path)), "Alice")
    await alice.heard("message 100")
    assert messages(alice) == numbers(51, 100)
    line = Line("other", "message 1 of another history", "Dan", seq=1)
    await submit(in_loop(lambda: alice.session.place(line, may_be_old=False)))
    assert alice.lines[-2:] == ["The room has begun a new history.", "Dan: message 1 of another history"]


# ---------------------------------------------------------------- going on where one was


LOST = "The room has lost its history. What was said before is not there any more."


@contextlib.asynccontextmanager
async def back_at(panel, server: Server, path: str):
    """The server has stopped; once more there is one with that history at its port, and the panel joins it."""
    server = await Server(lambda: v7.Room(path, limit=None), port=server.port).start()
    try:
        assert await panel.join()
        yield server
    finally:
        await server.stop()
        await until(lambda: panel.state == "lost")


@in_a_loop
async def test_who_comes_back_hears_the_rest_and_is_told_what_is_gone_and_what_is_another_history(tmp_path):
    path, other = fill(tmp_path / "chat.db", 1, 70), fill(tmp_path / "other.db", 1, 120)
    server = await serve(lambda: v7.Room(path))
    alice = ChatPanel(server, "Alice")
    await alice.heard("message 70")
    assert messages(alice) == numbers(21, 70)
    await server.stop()
    await until(lambda: alice.state == "lost")
    fill(path, 71, 130)  # more than the last 50
    async with back_at(alice, server, path):
        await alice.heard("message 130")
        assert messages(alice) == numbers(21, 130)
    fill(path, 131, 150, keep=10)
    async with back_at(alice, server, path):
        await alice.heard("message 150")
        assert messages(alice) == numbers(21, 130) + numbers(141, 150)
        told = "10 messages are gone for good: nobody has them any more."
        assert alice.lines.index("Cy: message 130") < alice.lines.index(told) < alice.lines.index("Cy: message 141")
        await until(lambda: "message 150<" in drawn(alice) and alice.earlier_button.disabled)
        assert "missing here" not in drawn(alice)
    async with back_at(alice, server, other):
        await until(lambda: messages(alice)[-50:] == numbers(71, 120))
        assert alice.lines[-51] == LOST
        await until(lambda: not alice.earlier_button.disabled)
        alice.earlier_button.click()
        await until(lambda: messages(alice)[-100:] == numbers(21, 120))
        await alice.say("hello")
        await alice.heard("hello")
    async with back_at(alice, server, other):
        await alice.say("back")
        await alice.heard("back")
        assert alice.lines.count("Alice: hello") == alice.lines.count(LOST) == 1


@in_a_loop
async def test_a_room_that_tells_nothing_any_more_is_asked_for_the_last_messages(tmp_path):
    path = fill(tmp_path / "chat.db", 1, 3)
    server = await serve(lambda: v7.Room(path))
    alice = ChatPanel(server, "Alice")
    await alice.heard("message 3")
    assert alice.session.position.seq == 3
    await server.stop()
    await until(lambda: alice.state == "lost")
    fill(path, 4, 5)
    server = await Server(lambda: v6.Room(path), port=server.port).start()
    assert await alice.join()
    await alice.heard("message 5")
    assert messages(alice) == numbers(1, 5) and alice.session.position is None
    await alice.leave()
    await server.stop()


@in_a_loop
async def test_what_comes_again_is_not_shown_again_not_even_if_the_log_has_dropped_it(tmp_path):
    path = fill(tmp_path / "chat.db", 1, 3)
    alice = ChatPanel(await serve(lambda: v7.Room(path)), "Alice")
    await alice.heard("message 3")

    def drop_and_hear_again():
        alice.session.lines = alice.session.lines[2:]  # "You have joined" and message 1
        for number in (3, 1):
            alice.session.receive(said(f"message {number}", "Cy", seq=number))

    await submit(in_loop(drop_and_hear_again))
    assert alice.lines == numbers(2, 3)


@pytest.mark.parametrize(
    "query, heard, asked",
    [
        ("", None, "?since=:&last=50"),
        ("", Position("a", 7), "?since=a:7&last=50"),
        ("", Position("", 7), "?since=:&last=50"),
        ("?room=1", Position("a&b #\ud800", 7), "?room=1&since=a%26b%20%23%3F:7&last=50"),
        ("?last=3", Position("a", 7), "?last=3&since=a:7"),
        ("?last=3&since=:", Position("a", 7), "?last=3&since=:"),
    ],
)
def test_what_a_panel_asks_for_stands_in_its_address(query, heard, asked):
    assert asking_for_the_rest(f"ws://x/chatroom{query}", heard, 50) == f"ws://x/chatroom{asked}"


def test_one_message_or_several_are_gone():
    assert gone_for_good(Gap(3, 3)) == "1 message is gone for good: nobody has it any more."
    assert gone_for_good(Gap(3, 4)) == "2 messages are gone for good: nobody has them any more."


# ---------------------------------------------------------------- who is there


@in_a_loop
async def test_the_people_are_counted_and_named():
    server = await serve("v3")
    alice, bob = await joined(server, "Alice", "Bob")
    await is_drawn(alice, "You have joined as Alice. 2 people are in the room.")
    async with joining(server.url):
        await until(lambda: alice.session.people == 3 and alice.lines[-1] == "Somebody has joined.")
    await until(lambda: alice.lines[-1] == "Somebody has left.")
    await bob.leave()
    await until(lambda: alice.lines[-1] == "Bob has left.")
    await is_drawn(alice, "You have joined as Alice. 1 person is in the room.")
    assert "people" not in bob.status


@in_a_loop
async def test_in_v1_clients_that_left_are_still_counted():
    alice, bob = await joined(await serve("v1"), "Alice", "Bob")
    await bob.leave()
    await bob.join()
    await until(lambda: alice.session.people == 3)
    assert "Bob has left." not in alice.lines


@in_a_loop
async def test_nobody_is_counted_at_a_server_elsewhere():
    room = v3.Room()

    async with room, serve_anything(room.handle, "127.0.0.1", 0, compression=None) as server:
        alice, bob = chat(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "Alice", "Bob")
        await alice.say("hello")
        await bob.heard("hello")
        assert alice.status == "You have joined as Alice." and alice.lines[1:] == ["Alice: hello"]
        await alice.leave()
        await bob.leave()


# ---------------------------------------------------------------- much at once


@in_a_loop
async def test_a_flood_is_drawn_now_and_then_and_in_the_end():
    alice = ChatPanel(await serve("v3"), "Alice")
    await alice.join()
    drawings = []
    alice.log_html.observe(drawings.append, "value")

    async def flood():
        for number in range(5000):
            alice.session.receive(said(f"message {number}", token="Ann"))
            await asyncio.sleep(0)

    await submit(flood())
    await is_drawn(alice, "message 4999<")
    assert len(drawings) < 500
    assert len(alice.lines) == MAX_LINES and alice.lines[0] == f"Ann: message {5000 - MAX_LINES}"
    assert alice.log_html.value.count("<p ") == MAX_LINES


@in_a_loop
async def test_other_tasks_run_while_much_arrives():
    server = await serve("v1")
    alice = ChatPanel(server, "Alice")
    await alice.join()
    seen = []

    async def count():
        while True:
            seen.append(alice.lines[-1])
            await asyncio.sleep(0)

    counting = asyncio.run_coroutine_threadsafe(count(), background_loop())
    async with joining(server.url, max_queue=None) as ann:
        for number in range(1000):
            await ann.send(said(f"message {number}"))
        await alice.heard("message 999")
    counting.cancel()
    assert len(set(seen)) > 100


# ---------------------------------------------------------------- running a cell again


@in_a_loop
async def test_a_new_panel_takes_over():
    server = await serve("v3")
    old, bob = await joined(server, "Alice", "Bob")
    new = ChatPanel(server, "Alice")
    assert await new.join()
    assert old.state == "left" and old.lines[-1] == "A newer panel has taken over."
    await until(lambda: old.join_button.disabled and old.leave_button.disabled and old.send_button.disabled)
    assert old.message.disabled and old.name_field.disabled
    assert not await old.join() and len(server.room.members()) == 2
    with pytest.raises(NotJoined):
        await old.say("hello")
    await new.say("hello")
    await bob.heard("hello")
    assert bob.lines[-3:] == ["Alice has left.", "Alice has joined.", "Alice: hello"]


@in_a_loop
async def test_panels_made_together_again_do_not_see_the_old_ones_go():
    server = await serve("v3")
    for _ in range(2):
        alice, bob = chat(server, "Alice", "Bob")
        assert await bob.join()
        await bob.say("hello")
        await alice.heard("hello")
        assert alice.lines == ["You have joined as Alice.", "Bob has joined.", "Bob: hello"]


@in_a_loop
async def test_many_new_panels_at_once_leave_one():
    server = await serve("v3")
    panels = [ChatPanel(server, "Alice") for _ in range(5)]
    assert await panels[-1].join()
    assert [panel.state for panel in panels] == 4 * ["left"] + ["joined"]
    assert len(server.room.members()) == 1 and _panels == panels[-1:]


@in_a_loop
async def test_leaving_before_the_visit_has_begun_is_leaving():
    alice = ChatPanel(await serve("v1"), "Alice")
    await alice.join()
    await alice.leave()

    async def at_once():
        joining_again = asyncio.ensure_future(alice.join())
        await asyncio.sleep(0)  # the visit is made, and has not run
        await alice.leave()
        return await joining_again

    assert not await submit(at_once())
    assert alice.state == "left" and await alice.join()


@in_a_loop
async def test_joining_while_leaving_joins_after_that():
    server = await serve("v3")
    alice, bob = await joined(server, "Alice", "Bob")
    alice.leave_button.click()
    alice.join_button.click()
    await until(lambda: alice.lines[-2:] == ["You have left.", "You have joined as Alice."])
    await alice.say("back")
    await bob.heard("back")


@in_a_loop
async def test_a_panel_that_has_changed_its_name_is_found_by_both():
    server = await serve("v3")
    for name in ("Alice", "Carol"):
        old = ChatPanel(server, "Alice")
        await old.join()
        await old.leave()
        typed(old.name_field, "Carol")
        assert await old.join() and old.name == "Carol"
        new = ChatPanel(server, name)
        assert await new.join() and old.state == "left"
        assert len(server.room.members()) == 1
        await new.leave()


@in_a_loop
async def test_a_closed_panel_leaves():
    server = await serve("v3")
    alice = ChatPanel(server, "Alice")
    await alice.join()
    alice.close()
    await until(lambda: server.room.members() == [] and alice.state == "left" and _panels == [])


# ---------------------------------------------------------------- what a notebook keeps


@in_a_loop
async def test_the_bundle_has_the_widget_and_the_log():
    server = await serve("v3")
    alice, bob = panels = await joined(server, "Alice", "Bob")
    await alice.say("hello")
    await bob.heard("hello")
    kept = bob._repr_mimebundle_(include=None, exclude=None)
    assert kept[VIEW]["model_id"] == bob.model_id
    plain = f"Bob at {server.url}: joined\n  You have joined as Bob.\n  Alice: hello"
    assert kept["text/plain"] == str(bob) == plain
    assert HELLO in kept["text/html"] and ">Bob</div>" in kept["text/html"]
    assert repr(bob) == f"<ChatPanel Bob at {server.url}: joined, 2 lines>"
    both = panels._repr_mimebundle_()
    assert both[VIEW]["model_id"] == panels.model_id and "flex-wrap: wrap" in both["text/html"]
    assert bob.transcript_html() in both["text/html"] and alice.transcript_html() in both["text/html"]
    assert both["text/plain"] == str(panels) == f"{alice}\n{bob}"


def test_the_package_alone_does_not_import_ipywidgets():
    code = "import sys, chatroom_lib; chatroom_lib.serve; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=AT_MOST).returncode == 0


KERNEL_CELLS = [
    "from chatroom_lib import chat, serve\nserver = await serve('v1')\nserver.url",
    "alice, bob = panels = chat(server, 'Alice', 'Bob')\n"
    "await alice.say('hello')\nawait alice.heard('hello')\nawait bob.heard('hello')\npanels",
    "bob",
    # Both what JupyterLab sends first from a widget's own thread, and what it sends later, is heard on that thread.
    "[widget.comm._reply_subshell_for({}, 'its own') for widget in (bob.message, bob.leave_button)]",
]


@pytest.mark.real
def test_in_a_kernel_the_log_goes_on_while_no_cell_runs(capfd):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in KERNEL_CELLS])
    client = NotebookClient(notebook, timeout=60, kernel_name="python3")
    with client.setup_kernel():
        for index in (0, 1):
            client.execute_cell(notebook.cells[index], index)
        url = notebook.cells[0].outputs[0]["data"]["text/plain"].strip("'")
        kept = notebook.cells[1].outputs[0]["data"]
        assert VIEW in kept and kept["text/html"].count(HELLO) == 2
        asyncio.run(visits(url))
        client.execute_cell(notebook.cells[2], 2)
        client.execute_cell(notebook.cells[3], 3)
    capfd.readouterr()  # the kernel itself says that it does not encrypt
    outside = "<b><bdi>Ann</bdi></b>: <bdi>from outside</bdi>"
    assert outside in notebook.cells[2].outputs[0]["data"]["text/html"]
    assert [len(cell.outputs) for cell in notebook.cells] == [1, 1, 1, 1]  # and nothing else is printed
    assert notebook.cells[3].outputs[0]["data"]["text/plain"] == "['its own', 'its own']"


async def visits(url: str) -> None:
    """Say something; hearing it back twice over gives the panels the time to hear it."""
    async with joining(url) as ann:
        for text in ("from outside", "again"):
            await ann.send(said(text))
            assert await hears(ann, text)
        await asyncio.sleep(A_MOMENT)


@in_a_loop
async def test_if_the_room_has_told_when_to_come_back_the_panel_does_so_by_itself(tmp_path):
    path = str(tmp_path / "chat.db")
    server = await serve(lambda: v8.Room(path, limit=None))
    alice = ChatPanel(server, "Alice")
    await alice.say("one")
    await alice.heard("one")
    await server.stop()
    await until(lambda: "Joining again within 2 s." in drawn(alice))
    server = await Server(lambda: v8.Room(path, limit=None), port=server.port).start()
    await until(lambda: alice.state == "joined")  # nobody has pressed a button
    await alice.say("two")
    await alice.heard("two")
    assert [line for line in alice.lines if line.startswith("Alice:")] == ["Alice: one", "Alice: two"]
    list(server.room.readers)[0].transport.abort()  # a loss without a word: it was told beforehand
    await until(lambda: alice.state == "lost")
    await until(lambda: alice.state == "joined")
    await alice.leave()
    assert alice.session.returning.done()
    await server.stop()


@in_a_loop
async def test_whoever_joins_or_leaves_meanwhile_need_not_wait():
    server = await serve(lambda: v8.Room(limit=None, returns=0.01))  # 101 s
    alice, bob = ChatPanel(server, "Alice"), ChatPanel(server, "Bob")
    for panel in (alice, bob):
        assert await panel.join()
    await server.stop()
    for panel in (alice, bob):
        await until(lambda panel=panel: panel.session.returning)
    server = await Server(lambda: v1.Room(), port=server.port).start()
    assert await alice.join()
    await bob.leave()
    await until(lambda: bob.session.returning.done())
    await server.stop()
    await until(lambda: alice.state == "lost" and "Joining again" not in alice.lines[-1])  # v1 tells nothing
    await alice.leave()
    await until(lambda: alice.session.returning.done())


@in_a_loop
async def test_a_panel_that_comes_back_by_itself_gives_up_in_the_end(monkeypatch):
    monkeypatch.setattr(chat_session, "TRIES", 2)
    monkeypatch.setattr(chat_session, "FIRST_WAIT", 0.01)
    server = await serve(lambda: v8.Room(limit=None))
    alice = ChatPanel(server, "Alice")
    assert await alice.join()
    await server.stop()
    await until(lambda: alice.session.returning and alice.session.returning.done())
    assert alice.state == "lost" and alice.session.backoff.failed == 2
    await until(lambda: not alice.join_button.disabled)


# ---------------------------------------------------------------- several servers


@in_a_loop
async def test_a_panel_goes_on_at_the_next_server_when_it_loses_its_own(tmp_path):
    path = str(tmp_path / "chat.db")
    one = await serve(lambda: v9.Room(path, limit=None))
    other = await Server(lambda: v9.Room(path, limit=None)).start()
    alice, bob = ChatPanel([one, other], "Alice"), ChatPanel(other, "Bob")
    for panel in (alice, bob):
        assert await panel.join()
    await alice.say("one")
    await bob.heard("one")
    list(one.room.readers)[0].transport.abort()  # without a word
    await until(lambda: "Joining again" in str(alice.lines))  # perhaps at once
    await bob.say("meanwhile")
    await until(lambda: alice.state == "joined")  # nobody has pressed a button
    assert len(other.room.members()) == 2 and not one.room.members()
    assert f"Alice at {other.url}: joined" in str(alice) and other.url in repr(alice)
    await alice.say("two")
    await bob.say("three")
    for panel in (alice, bob):
        await panel.heard("three")
        said_in_all = [line for line in panel.lines if line.startswith(("Alice:", "Bob:"))]
        assert said_in_all == ["Alice: one", "Bob: meanwhile", "Alice: two", "Bob: three"]
    await bob.leave()
    await other.stop()
    await until(lambda: alice.state == "joined" and one.room.members())  # and back again
    await alice.leave()
    await one.stop()


@in_a_loop
async def test_a_panel_that_never_was_in_does_not_try_other_servers_by_itself():
    other = await serve(lambda: v9.Room(limit=None))
    alice = ChatPanel(["ws://127.0.0.1:1/chatroom", other.url], "Alice")
    await until(lambda: alice.state == "lost")
    await asyncio.sleep(A_MOMENT)
    assert alice.state == "lost" and alice.session.returning is None
    assert await alice.join()  # at the next one
    assert len(other.room.members()) == 1


def test_no_address_at_all_is_named():
    with pytest.raises(ValueError, match="give the address of a room, or several of servers with one history"):
        ChatPanel([], "Ann")
    with pytest.raises(ValueError, match="is not the address of a room"):
        chat(["ws://127.0.0.1:1/chatroom", "http://x/"], "Ann")
