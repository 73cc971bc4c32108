"""What travels between a client and a room: one JSON object, `{"token": "Ann", "content": "hello"}`.

`token` names the speaker, `content` is what they say; both are text. A version may add fields; a reader skips those
that it does not know. From v5 on a client may add an `id` to what it says, a room adds a `seq`, its number in the
history, and `{"before": 120, "limit": 50}` asks for a page of that. From v7 on `?since=EPOCH:SEQ` in the path of a
connection says what its client has heard, and a room answers with a Position. From v8 on a room tells how long those
take to come back who have lost it, so that they do not all come at once.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

MAX_ID = 64  # characters
MAX_PAGE = 100  # messages
MAX_LAST = 1000  # messages
MAX_SIZE = 64 * 1024  # bytes of a message from a client; the chat page sends 10,000 characters at most
LONGEST_SPREAD = 300.0  # seconds; no client takes longer to come back, whatever a room tells
COME_BACK = re.compile(r"\bcome back within (\d{1,6}(?:\.\d{1,3})?) s\b")
# What both ends pass to `websockets` unless they are told otherwise: no compression and no keepalive. (The article's
# library does neither unless asked, and each is a topic of its own.)
WIRE = {"compression": None, "ping_interval": None, "max_size": MAX_SIZE}
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps makes an encoder each time


class MessageError(ValueError):
    """A frame that is not a message. The text says what is wrong, in at most 120 bytes of ASCII, so that it fits into a
    close frame as the reason (RFC 6455, section 5.5)."""


@dataclass(frozen=True, slots=True)
class Message:
    token: str
    content: str
    refused: str | None = None  # set by a room: the content that it refuses
    id: str | None = None  # the speaker's own name for it
    seq: int | None = None  # set by a room: its number in the history, 1, 2, 3, ...


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A client asks for the newest `limit` messages of the history with a smaller number than `before`."""

    before: int
    limit: int = MAX_PAGE


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of messages that nobody can give any more, both included."""

    first: int | None  # None: what was heard last was heard of another history
    last: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far a client has heard a history: up to the message number `seq` of the one that is called `epoch`."""

    epoch: str  # "": of none
    seq: int
    gap: Gap | None = None  # set by a room: what is missing before the next message
    return_within: float | None = None  # set by a room: seconds within which all come back, if they lose it


def encode(message: Message) -> str:
    """The payload of the text frame for `message`: JSON."""
    fields = {"token": message.token, "content": message.content}
    if message.refused is not None:
        fields["refused"] = message.refused
    if message.id is not None:
        fields["id"] = message.id
    if message.seq is not None:
        fields["seq"] = message.seq
    return to_json(fields)


def encode_request(request: PageRequest) -> str:
    """The payload of the text frame that asks for a page: JSON."""
    return to_json({"before": request.before, "limit": request.limit})


def encode_end(request: PageRequest) -> str:
    """The payload of the text frame that answers `request` if there are no such messages: JSON."""
    return to_json({"token": "chatroom", "content": "", "before": request.before, "end": True})


def encode_position(position: Position) -> str:
    """The payload of the text frame that says from where on a client is fed: JSON."""
    gap = position.gap and {"from": position.gap.first, "to": position.gap.last}
    fields = {"token": "chatroom", "content": "", "epoch": position.epoch, "since": position.seq, "gap": gap}
    if position.return_within is not None:
        fields["return_within"] = position.return_within
    return to_json(fields)


def come_back_within(seconds: float) -> str:
    """The reason with which a room that stops closes its connections, with code 1012."""
    return f"come back within {seconds:g} s"


def told_to_come_back(reason: str) -> float | None:
    """The seconds in that reason; None if there are none in it."""
    found = COME_BACK.search(reason)
    return longest_spread(float(found[1])) if found else None


def decode(frame: str | bytes) -> Message:
    """The message in `frame`, as a room reads it from a client. Raises MessageError if it is not a message."""
    fields = parse(frame)
    return Message(text_field(fields, "token"), text_field(fields, "content"))


def decode_request(frame: str | bytes) -> Message | PageRequest:
    """What a client wants of a room with a history: that it passes on a message, whose `id` is kept, or a page.

    Raises MessageError if it is neither.
    """
    fields = parse(frame)
    if "before" in fields:
        return PageRequest(number_field(fields, "before", 0), min(number_field(fields, "limit", 1, MAX_PAGE), MAX_PAGE))
    return Message(text_field(fields, "token"), text_field(fields, "content"), id=id_field(fields))


def decode_reply(frame: str | bytes) -> Message:
    """The message in `frame`, as a client reads it from a room: `refused` is set if it is a refusal.

    Raises MessageError if it is not a message. An `id` or a `seq` that cannot be one counts as none.
    """
    fields = parse(frame)
    refused = text_field(fields, "refused") if "refused" in fields else None
    token, content, seq = text_field(fields, "token"), text_field(fields, "content"), fields.get("seq")
    try:
        id = id_field(fields)
    except MessageError:
        id = None
    return Message(token, content, refused, id, seq if type(seq) is int else None)


def decode_end(frame: str | bytes) -> int | None:
    """The `before` of a page request, if `frame` answers it with nothing. Raises MessageError if it is not JSON."""
    fields = parse(frame)
    before = fields.get("before")
    return before if fields.get("end") is True and type(before) is int else None


def decode_position(frame: str | bytes) -> Position | None:
    """From where on a client is fed, if `frame` says that. Raises MessageError if it is not JSON."""
    fields = parse(frame)
    epoch, seq, gap = fields.get("epoch"), fields.get("since"), fields.get("gap")
    if not (isinstance(epoch, str) and type(seq) is int):
        return None
    missing = None
    if isinstance(gap, dict) and type(gap.get("to")) is int:
        missing = Gap(gap["from"] if type(gap.get("from")) is int else None, gap["to"])
    return Position(epoch, seq, missing, longest_spread(fields.get("return_within")))


def longest_spread(seconds: object) -> float | None:
    """`seconds`, if a client may take so long to come back, and LONGEST_SPREAD if it is longer; None if it is no
    number."""
    return min(seconds, LONGEST_SPREAD) if type(seconds) in (int, float) and seconds > 0 else None


def since_wanted(path: str) -> Position | None:
    """What a client says that it has heard: `?since=EPOCH:SEQ` in the path of its connection, or `?since=:`, nothing;
    None if it does not say.

    A room then sends all that it keeps after that. With `?last=50` beside it, whoever has heard nothing of this history
    gets the last 50 of that: `?since=:&last=0` asks for nothing but to be told where one is.

    Raises MessageError if that is neither.
    """
    text = parse_qs(urlsplit(path).query, keep_blank_values=True).get("since", [None])[0]
    if text is None:
        return None
    epoch, colon, seq = text.rpartition(":")
    if not colon or bool(epoch) != bool(seq) or (seq and not (seq.isascii() and seq.isdigit() and len(seq) < 20)):
        raise MessageError("since must be EPOCH:SEQ, or a colon alone")
    return Position(epoch, int(seq or 0))


def last_wanted(path: str, unless_said: int = 0) -> int:
    """How many of the last messages a newcomer asks for: `?last=50` in the path of its connection, 1,000 at most;
    `unless_said` if it does not say.

    Raises MessageError if that is no number.
    """
    text = parse_qs(urlsplit(path).query).get("last", [None])[0]
    if text is None:
        return unless_said
    if not (text.isascii() and text.isdigit()):
        raise MessageError("last must be a whole number")
    return min(int(text[:9]), MAX_LAST)


def parse(frame: str | bytes) -> dict:
    if not isinstance(frame, str):
        raise MessageError("a binary frame; messages are text frames")
    try:
        fields = json.loads(frame)
    except json.JSONDecodeError:
        raise MessageError("not JSON") from None
    except (ValueError, RecursionError):  # Python's limits: 4,300 digits, and the depth of the stack
        raise MessageError("JSON with too many digits or brackets in a row") from None
    if not isinstance(fields, dict):
        raise MessageError("not a JSON object with a token and a content")
    return fields


def text_field(fields: dict, name: str) -> str:
    if name not in fields:
        raise MessageError(f"{name} is missing")
    text = fields[name]
    if not isinstance(text, str):
        raise MessageError(f"{name} must be text")
    return check_encodable(text, name)


def id_field(fields: dict) -> str | None:
    if fields.get("id") is None:
        return None
    id = text_field(fields, "id")
    if not 1 <= len(id) <= MAX_ID:
        raise MessageError(f"id must have 1 to {MAX_ID} characters")
    return id


def number_field(fields: dict, name: str, least: int, default: int | None = None) -> int:
    number = fields.get(name, default)
    if type(number) is not int or number < least:
        raise MessageError(f"{name} must be a whole number, {least} or more")
    return number


def check_encodable(text: str, name: str) -> str:
    """`text`, if UTF-8 can encode it. Raises MessageError, which calls it `name`."""
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair, UTF-8 cannot
        raise MessageError(f"{name} contains an unpaired surrogate") from None
    return text
