"""When a message is committed to a room's history."""

from functools import partial

from chatroom_lib.history import History
from chatroom_lib.message import Message
from chatroom_lib.trace import Trace, label


def observe_history(room, trace: Trace) -> None:
    """Note in `trace` from now on what the room's history, if it has one, writes."""
    history = getattr(room, "history", None)
    if isinstance(history, History):
        history.write = partial(write, history.write, trace)


def write(real, trace: Trace, messages: list[Message], *arguments) -> list[Message]:
    kept = real(messages, *arguments)
    for message in kept:
        trace.record("written", message.token, label(message), message.seq, message.id)
    return kept
