"""The lines of a chat log."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from chatroom_lib.message import Gap

NAME_LENGTH = 40  # characters, as on the chat page
LINE_LENGTH = 1000  # characters; a line shows no more of a text


@dataclass(frozen=True)
class Line:
    kind: str  # "own", "other": a message; "unheard": one of ours; "news": joins and leaves; "trouble": errors
    text: str
    name: str = ""  # the sender, if it is a message
    id: str | None = None  # the sender's own name for it
    seq: int | None = None  # its number in the room's history
    fate: str = ""  # what has become of it, if we have not heard it

    @property
    def plain(self) -> str:
        text = f"{self.name}: {self.text}" if self.name else self.text
        return f"{text} ({self.fate})" if self.fate else text

    @property
    def markup(self) -> str:
        """HTML. <bdi> keeps right-to-left text from reordering its surroundings."""
        name = f"<b><bdi>{escape(self.name)}</bdi></b>: " if self.name else ""
        fate = f" <i>{self.fate}</i>" if self.fate else ""
        return f"{name}<bdi>{escape(self.text)}</bdi>{fate}"

    def is_same_as(self, other: "Line") -> bool:
        return (self.id, self.name, self.text) == (other.id, other.name, other.text)


def place_in(lines: tuple[Line, ...], seq: int) -> int:
    """The index at which a message with that number belongs: most come in order, at the end."""
    index = len(lines)
    for earlier in range(len(lines) - 1, -1, -1):
        number = lines[earlier].seq
        if number is not None and number < seq:
            break
        if number is not None:
            index = earlier
    return index


def with_gaps(lines: tuple[Line, ...], begin: int) -> Iterator[Line]:
    """The lines, and where messages of the history are missing between them, how many that can be had. Those before
    number `begin` cannot."""
    last = None
    for line in lines:
        if line.seq is not None:
            if last is not None and (missing := line.seq - max(last + 1, begin)) > 0:
                yield Line("news", f"{count(missing)} missing here.")
            last = line.seq
        yield line


def gone_for_good(gap: Gap) -> str:
    messages = gap.last - gap.first + 1
    return f"{count(messages)} gone for good: nobody has {'it' if messages == 1 else 'them'} any more."


def count(messages: int) -> str:
    return "1 message is" if messages == 1 else f"{messages} messages are"


def start_of_newest(lines: tuple[Line, ...]) -> int | None:
    """The number of the message before which, seen from the newest, one is missing. None: no message has a number."""
    first = None
    for line in reversed(lines):
        if line.seq is not None:
            if first is not None and line.seq != first - 1:
                break
            first = line.seq
    return first


def shortened(text: str, length: int = LINE_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def on_one_line(name: str) -> str:
    """A name from the network, safe to show in one line."""
    return shortened(" ".join(name.split()), NAME_LENGTH) or "somebody"
