"""Show a room's code in a notebook, straight from its file, so that what is shown is what runs."""

import ast
import difflib
import inspect

from chatroom_lib import rooms


def source(name: str):
    """The code of the room `name`, without its docstring."""
    from IPython.display import Markdown

    return Markdown(f"```python\n{code(name)}\n```")


def diff(before: str, after: str):
    """What changes in the code from one room to the next, docstrings left out."""
    from IPython.display import Markdown

    lines = difflib.unified_diff(
        code(before).splitlines(), code(after).splitlines(), before, after, lineterm="", n=2
    )
    return Markdown("```diff\n" + "\n".join(lines) + "\n```")


def code(name: str) -> str:
    text = inspect.getsource(inspect.getmodule(rooms.get(name)))
    docstring = ast.parse(text).body[0]
    return "\n".join(text.splitlines()[docstring.end_lineno :]).strip()
