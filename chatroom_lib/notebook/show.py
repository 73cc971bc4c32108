"""Show a room's code in a notebook, straight from its file, so that what is shown is what runs."""

import ast
import difflib
import inspect

from pygments import highlight, token
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.style import Style

from chatroom_lib import rooms


class Readable(Style):
    """Colours with a contrast of about 4.5 both on white pages and on black ones."""

    styles = {
        token.Keyword: "bold #a8499c",
        token.String: "#a86a10",
        token.Comment: "italic #767676",
        token.Generic.Inserted: "#15843d",
        token.Generic.Deleted: "#d33a4a",
        token.Generic.Subheading: "#767676",
        token.Generic.Heading: "#767676",
    }


WRAPPED = "font-family: monospace; white-space: pre-wrap; word-break: normal; overflow-wrap: break-word"
FORMAT = HtmlFormatter(style=Readable, noclasses=True, nobackground=True, prestyles=WRAPPED)


class Code:
    """A piece of code that a notebook shows in colours, and a terminal as text."""

    def __init__(self, text: str, language: str):
        self.text, self.language = text, language

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        return highlight(self.text, get_lexer_by_name(self.language), FORMAT)


def source(*things) -> Code:
    """The code of a room, by its name ("v1") and without its docstring; or of classes and functions."""
    parts = [code(thing) if isinstance(thing, str) else inspect.getsource(thing) for thing in things]
    return Code("\n\n".join(parts), "python")


def diff(before: str, after: str) -> Code:
    """What changes in the code from one room to the next, docstrings left out."""
    lines = code(before).splitlines(), code(after).splitlines()
    return Code("\n".join(difflib.unified_diff(*lines, before, after, lineterm="", n=2)), "diff")


def code(name: str) -> str:
    text = inspect.getsource(inspect.getmodule(rooms.resolve(name)))
    docstring = ast.parse(text).body[0]
    return "\n".join(text.splitlines()[docstring.end_lineno :]).strip()
