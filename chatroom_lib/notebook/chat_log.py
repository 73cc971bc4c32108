"""The lines of a chat log."""

from dataclasses import dataclass
from html import escape

NAME_LENGTH = 40  # characters, as on the chat page
LINE_LENGTH = 1000  # characters; a line shows no more of a text


@dataclass(frozen=True)
class Line:
    kind: str  # "own", "other": a message; "news": joins and leaves; "trouble": errors
    text: str
    name: str = ""  # the sender, if it is a message

    @property
    def plain(self) -> str:
        return f"{self.name}: {self.text}" if self.name else self.text

    @property
    def markup(self) -> str:
        """HTML. <bdi> keeps right-to-left text from reordering its surroundings."""
        name = f"<b><bdi>{escape(self.name)}</bdi></b>: " if self.name else ""
        return f"{name}<bdi>{escape(self.text)}</bdi>"


def shortened(text: str, length: int = LINE_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def on_one_line(name: str) -> str:
    """A name from the network, safe to show in one line."""
    return shortened(" ".join(name.split()), NAME_LENGTH) or "somebody"
