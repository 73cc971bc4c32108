"""Evidence says what came instead of a lost message, if that explains the loss, and mentions nothing else."""

import json

import pytest
from websockets.exceptions import NegotiationError

from chatroom_lib import Message, Scenario, decode, encode, flooder, listener, simulate, talker
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.message import to_json
from chatroom_lib.runtime.console import excerpt
from tests.test_verdicts import Good

two_talk = Scenario([talker("Ann", says=4, every=1.5), talker("Bob", says=4, every=1.5), listener("Cy")], duration=60)
flood = Scenario([flooder("Flo", says=40), talker("Ann", says=3, every=1.5), listener("Cy")], duration=60)
NO_MESSAGE = 'which is no {"token": ..., "content": ...}'


def evidence(room, scenario=two_talk, guarantee="delivery") -> str:
    return judge(simulate(room, scenario))[guarantee].evidence


# ---------------------------------------------------------------- what a frame looks like


@pytest.mark.parametrize(
    "frame, looks",
    [
        ("Ann: 1 " + 1000 * ".", "Ann: 1 ......"),
        ('{"text":"1 ' + 4000 * "." + '","user":"Ann"}', '{"text":"1 ......","user":"Ann"}'),
        ("two\n  lines\x1b[2J", "two lines\ufffd[2J"),
        (b"\x00\xffAnn 1", 'b"\\x00\\xffAnn 1"'),
        ("", ""),
        ("\ud800", "\ufffd"),
        ("abc" * 100, ("abc" * 100)[:59] + "…"),
        (b"abc" * 100, f'b"{("abc" * 100)[:56]}…"'),
    ],
)
def test_an_excerpt_is_short_and_printable(frame, looks):
    assert excerpt(frame) == looks and len(looks) <= 60 and looks.isprintable()


# ---------------------------------------------------------------- the message, in another form


class InAnotherForm(Good):
    """`form`: what each message is passed on as."""

    def say(self, frame):
        super().say(self.form(decode(frame)))


def passing_on(form, base=InAnotherForm) -> type:
    return type("Room", (base,), {"form": staticmethod(form)})


FORMS = {
    "plain text": (lambda m: f"{m.token}: {m.content}", f"it got 'Ann: 1 ......', {NO_MESSAGE}"),
    "text alone": (lambda m: m.content, f"it got '1 ......', {NO_MESSAGE}"),
    "binary": (lambda m: encode(m).encode(), f'it got b"{{"token":"Ann","content":"1 ......"}}", {NO_MESSAGE}'),
    "other keys": (lambda m: to_json({"user": m.token, "text": m.content}), f'"text":"1 ......"}}\', {NO_MESSAGE}'),
    "other keys, the other way round": (
        lambda m: to_json({"text": m.content, "user": m.token}),
        f'it got \'{{"text":"1 ......","user":"Ann"}}\', {NO_MESSAGE}',
    ),
    "nested": (
        lambda m: json.dumps({"type": "message", "data": {"token": m.token, "content": m.content}}),
        f'"data": {{"token": "Ann", "content": "1 …\', {NO_MESSAGE}',
    ),
    "a list": (lambda m: to_json([m.token, m.content]), f'it got \'["Ann","1 ......"]\', {NO_MESSAGE}'),
    "cut short": (lambda m: encode(Message(m.token, m.content[:6])), "1 ....\"}', which is not what Ann said"),
    "escaped": (lambda m: encode(Message(m.token, f"<b>{m.content}</b>")), "</b>\"}', which is not what Ann said"),
    "loud": (lambda m: encode(Message(m.token, m.content.replace(".", "!"))), "!!!\"}', which is not what Ann said"),
    "by a guest": (lambda m: encode(Message("guest", m.content)), "it got 'guest 1 ...', whose token is not Ann"),
    "by the room": (
        lambda m: encode(Message("room", f"{m.token}: {m.content}")),
        "it got 'room Ann: ...', whose token is not Ann",
    ),
}


@pytest.mark.parametrize("form, instead", FORMS.values(), ids=FORMS)
def test_a_message_in_another_form_is_shown(form, instead):
    told = evidence(passing_on(form))
    assert told.startswith("Ann never heard Ann 1 and 7 more; ") and told.endswith(instead)


class ToOneAsText(Good):
    """What Ann says reaches Bob as a text, and everything else as it should."""

    async def accept(self, message):
        for connection in list(self.queues):
            as_text = connection.name == "Bob" and message.token == "Ann"
            self.put(connection, f"{message.token}: {message.content}" if as_text else encode(message))


def test_it_is_shown_of_somebody_who_hears_others_too():
    assert evidence(ToOneAsText) == f"Bob never heard Ann 1 and 3 more; it got 'Ann: 1 ......', {NO_MESSAGE}"


# ---------------------------------------------------------------- what explains nothing


class Notices(Good):
    """Tells everybody who comes and how many they are, and how many messages there were; loses each third one."""

    count = 0

    async def joined(self, connection):
        self.tell(connection.name, len(self.queues))

    def tell(self, name, count):
        super().say(to_json({"type": "presence", "who": name, "count": count}))

    async def accept(self, message):
        self.count += 1
        self.tell(message.token, self.count)
        if self.count % 3:
            await super().accept(message)


def test_notices_are_not_mentioned():
    told = evidence(Notices)
    assert told.startswith("Ann never heard ") and ";" not in told
    trace = simulate(Notices, two_talk)
    assert trace.of("garbled") and not trace.of("altered")


class Acknowledges(Good):
    """Answers to each message, and loses Ann's second and third."""

    async def accept(self, message):
        connection = next(connection for connection in self.queues if connection.name == message.token)
        self.put(connection, to_json({"type": "ack", "of": message.content[:2]}))
        if not (message.token == "Ann" and message.content[0] in "23"):
            await super().accept(message)


def test_what_answers_to_every_message_is_no_refusal():
    assert evidence(Acknowledges) == "Ann never heard Ann 2 and 1 more"


def test_what_is_merely_lost_comes_with_nothing():
    class Loses(Good):
        async def accept(self, message):
            if message.content[0] != "2":
                await super().accept(message)

    assert evidence(Loses) == "Ann never heard Ann 2 and 1 more"


# ---------------------------------------------------------------- a refusal in the room's own words


class RefusesInItsOwnWords(Good):
    words = '{"type": "error", "code": "slow_down"}'

    async def read(self, connection):
        number = 0
        async for frame in connection:
            number += 1
            if number > 5:
                self.put(connection, self.words)
            else:
                self.say(frame)


def test_a_refusal_that_does_not_say_what_it_refuses_is_shown():
    assert evidence(RefusesInItsOwnWords, flood).endswith(
        f"never heard Flo 6 and 34 more; Flo got '{RefusesInItsOwnWords.words}', "
        'which does not say what it refuses (see "What it owes people" in docs/your_room.md)'
    )


def test_so_is_one_in_the_form_of_a_message():
    class Says(RefusesInItsOwnWords):
        words = encode(Message("server", "slow down"))

    assert "; Flo got 'server slow ...', which does not say what it refuses" in evidence(Says, flood)


def test_one_that_says_what_it_refuses_is_none_of_this():
    class Refuses(RefusesInItsOwnWords):
        async def read(self, connection):
            number = 0
            async for frame in connection:
                number += 1
                if number > 5:
                    self.put(connection, encode(Message("room", "slow down", decode(frame).content)))
                else:
                    self.say(frame)

    assert judge(simulate(Refuses, flood))["delivery"].kept


# ---------------------------------------------------------------- who does not get in


def test_why_nobody_can_connect_is_said():
    class Chooses(Good):
        def __init__(self):
            super().__init__()
            self.server_options = {"subprotocols": ["chat.v1"], "select_subprotocol": self.choose}

        def choose(self, connection, offered):
            if "chat.v1" not in offered:
                raise NegotiationError("subprotocol chat.v1 only")

    told = evidence(Chooses, guarantee="admission")
    assert told.startswith("Ann could not connect at 0.00") and "HTTP 400" in told and "chat.v1 only" in told
    assert told.isprintable() and len(told) < 200


def test_so_is_what_a_room_says_when_it_closes():
    class Closes(Good):
        async def handle(self, connection):
            await connection.close(4401, "unauthorized")

    assert " s (4401 unauthorized), never let in" in evidence(Closes, guarantee="admission")


def test_a_connection_that_is_just_lost_has_no_reason():
    class Aborts(Good):
        async def handle(self, connection):
            connection.transport.abort()

    assert evidence(Aborts, guarantee="admission").endswith(" s, never let in")
