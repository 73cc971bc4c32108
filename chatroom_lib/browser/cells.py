"""Run the cells of a chapter in one namespace, as a notebook's kernel does."""

import ast
import contextlib
import inspect
import io
import linecache
import sys
import traceback
from typing import Any, NamedTuple

from chatroom_lib.browser.dependencies import makers, names_in

FILE = "cell {}"  # what a traceback calls a cell


class Output(NamedTuple):
    """What a cell shows. An "html" may hold anything that the code of the cell has put there."""

    kind: str  # "text" (printed), "value" (of the last line), "html", "figure" (an SVG), "error"
    content: str


class Chapter:
    """The cells of a chapter, and the names that they have made so far."""

    def __init__(self, names: dict[str, Any] | None = None):
        self.names = {"__name__": "__main__"} if names is None else names
        self.made_by: dict[str, tuple[int, str]] = {}  # name -> the cell that has made it last, and its code then

    def needed(self, codes: list[str], index: int) -> list[int]:
        """The cells to run for this one, in order: those that make the names it uses, unless they have, and itself."""
        cells = [names_in(code) for code in codes]
        wanted, open_ = {index}, [index]
        while open_:
            for name, maker in makers(cells, open_.pop()).items():
                if self.made_by.get(name) != (maker, codes[maker]) and maker not in wanted:
                    wanted.add(maker)
                    open_.append(maker)
        return sorted(wanted)

    async def run(self, index: int, code: str) -> list[Output]:
        """Run a cell. An error is one of the outputs."""
        printed, outputs = io.StringIO(), []
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                value = await evaluate(code, self.names, FILE.format(index + 1))
            shown = [*figures(), *representation(value)]
            self.made_by |= dict.fromkeys(names_in(code).made, (index, code))
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            figures()  # of a cell that has failed, nothing is drawn
            shown = [Output("error", described(error, code))]
        if text := printed.getvalue():
            outputs.append(Output("text", text))
        return outputs + shown


async def evaluate(code: str, names: dict[str, Any], file: str) -> object:
    """Run code in which `await` may stand anywhere. Returns the value of its last line; with a semicolon, none."""
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file  # for tracebacks and inspect
    tree = ast.parse(code, file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    await finished(eval(compile(tree, file, "exec", flags), names))
    if last is None:
        return None
    value = await finished(eval(compile(ast.Expression(last.value), file, "eval", flags), names))
    return None if code.rstrip().endswith(";") else value


async def finished(result: object) -> object:
    """With an `await` at the top, compiled code is a coroutine."""
    return await result if inspect.iscoroutine(result) else result


def figures() -> list[Output]:
    """Those drawn since the last time."""
    if not (svg := sys.modules.get("chatroom_lib.plots.svg")):
        return []  # nothing has been drawn so far
    return [Output("figure", figure._repr_svg_()) for figure in svg.unshown()]


def representation(value: object) -> list[Output]:
    if value is None or hasattr(value, "_repr_svg_") or hasattr(value, "figure"):
        return []  # figures are shown by themselves
    if hasattr(value, "_repr_html_"):
        return [Output("html", value._repr_html_())]
    return [Output("value", f"{value!r}\n")]


def described(error: BaseException, code: str) -> str:
    """The error, and where in the reader's own code."""
    lines = traceback.format_exception_only(error)
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("cell ")]
    where = [f"{frame.filename}, line {frame.lineno}: {frame.line}\n" for frame in places]
    return "".join([*where, *lines]).rstrip()
