"""The lines of a chat log."""

from dataclasses import dataclass
from html import escape

NAME_LENGTH = 40  # characters, as on the chat page
LINE_LENGTH = 1000  # characters that a line shows of a text


@dataclass(frozen=True)
class Line:
    kind: str  # "own", "other": a message; "news": who comes and goes; "trouble"
    text: str
    name: str = ""  # who has said it, if it is a message

    @property
    def plain(self) -> str:
        return f"{self.name}: {self.text}" if self.name else self.text

    @property
    def markup(self) -> str:
        """HTML. <bdi> keeps right-to-left text from reordering what stands beside it."""
        name = f"<b><bdi>{escape(self.name)}</bdi></b>: " if self.name else ""
        return f"{name}<bdi>{escape(self.text)}</bdi>"


def shortened(text: str, length: int = LINE_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def on_one_line(name: str) -> str:
    """A name from elsewhere, fit to be shown."""
    return shortened(" ".join(name.split()), NAME_LENGTH) or "somebody"
