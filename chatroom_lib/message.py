"""What travels between a client and a room: one JSON object, `{"token": "Ann", "content": "hello"}`.

`token` names the speaker, `content` is what they say; both are text. A version may add fields; a reader skips those
that it does not know.
"""

import json
from dataclasses import dataclass

MAX_SIZE = 64 * 1024  # bytes of a message from a client; the chat page sends 10,000 characters at most
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


def encode(message: Message) -> str:
    """The payload of the text frame for `message`: JSON."""
    fields = {"token": message.token, "content": message.content}
    if message.refused is not None:
        fields["refused"] = message.refused
    if message.id is not None:
        fields["id"] = message.id
    return to_json(fields)


def decode(frame: str | bytes) -> Message:
    """The message in `frame`, as a room reads it from a client. Raises MessageError if it is not a message."""
    fields = parse(frame)
    return Message(text_field(fields, "token"), text_field(fields, "content"))


def decode_reply(frame: str | bytes) -> Message:
    """The message in `frame`, as a client reads it from a room: `refused` is set if it is a refusal.

    Raises MessageError if it is not a message.
    """
    fields = parse(frame)
    refused = text_field(fields, "refused") if "refused" in fields else None
    return Message(text_field(fields, "token"), text_field(fields, "content"), refused)


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


def check_encodable(text: str, name: str) -> str:
    """`text`, if UTF-8 can encode it. Raises MessageError, which calls it `name`."""
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair, UTF-8 cannot
        raise MessageError(f"{name} contains an unpaired surrogate") from None
    return text
