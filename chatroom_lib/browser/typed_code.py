"""Code that a reader has typed: the room or the scenario in it, or one line that says what is wrong, and where."""

import contextlib
import io
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import chatroom_lib
from chatroom_lib.clients import scenario as clients
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.rooms import Room, RoomError
from chatroom_lib.rooms.handler import Handler, is_handler, what_is_wrong_with
from chatroom_lib.rooms.loader import run_file
from chatroom_lib.runtime.console import describe, one_line
from chatroom_lib.server.server import ServerError

ROOM, SCENARIO = "room.py", "the scenario"  # what the two are called
NO_ROOM = "there is no room in this code: write a class Room with a method handle, or async def handler(websocket)"

OURS = (RoomError, ServerError, ValueError, RuntimeError)  # which say themselves what is wrong


class Printed(io.StringIO):
    """What a reader's code prints: its beginning, since a room may print all the time."""

    MOST = 10_000  # characters

    def write(self, text: str) -> int:
        super().write(text[: max(self.MOST - self.tell(), 0)])
        return len(text)


@contextlib.contextmanager
def printed() -> Iterator[Printed]:
    """Whatever is printed meanwhile."""
    with contextlib.redirect_stdout(Printed()) as text, contextlib.redirect_stderr(text):
        yield text


class Mistake(Exception):
    """A reader's. Its text is one line, for the reader."""


@contextlib.contextmanager
def room_of(code: str) -> Iterator[tuple[Callable[..., Room] | Handler, str]]:
    """The class in this code, or the handler, and the file that it is in for as long as it is used. Raises Mistake for
    whatever is raised meanwhile."""
    with tempfile.TemporaryDirectory(prefix="chatroom-") as folder:
        path = Path(folder, ROOM)
        with explained(str(path)):
            path.write_text(code, encoding="utf-8")
            module = run_file(path)
            yield getattr(module, name_of_room(module)), str(path)


def name_of_room(module: ModuleType) -> str:
    """Of the class Room, or else of the only class with a `handle`, or else of the handler."""
    own = {name: thing for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__}
    classes = [name for name, thing in own.items() if isinstance(thing, type) and hasattr(thing, "handle")]
    handlers = [name for name, thing in own.items() if is_handler(thing) and not what_is_wrong_with(thing)]
    for wanted, found in (("Room", classes), ("handler", handlers)):
        if hasattr(module, wanted):
            return wanted
        if len(found) > 1:
            raise RoomError(f"there are several rooms in this code, {', '.join(found)}: call the one to try {wanted}")
        if found:
            return found[0]
    raise RoomError(NO_ROOM)


def scenario_of(code: str) -> Scenario:
    """The Scenario that this expression makes, of the names of this package. Raises Mistake."""
    names = {name: getattr(clients, name) for name in chatroom_lib.__all__ if hasattr(clients, name)}
    with explained(SCENARIO):
        made = eval(compile(code.strip(), SCENARIO, "eval"), names)
    if not isinstance(made, Scenario):
        raise Mistake(f"{SCENARIO} must be a Scenario([talker(...), ...]), not {type(made).__name__}")
    if not made.clients:
        raise Mistake(f"there is nobody in {SCENARIO}")
    return made


@contextlib.contextmanager
def explained(file: str) -> Iterator[None]:
    """Whatever is raised is raised as a Mistake in this file."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise Mistake(explain(error, file)) from error


def explain(error: BaseException, file: str) -> str:
    """One line: "line 12: ZeroDivisionError: division by zero", if that is in this file."""
    cause = error
    while isinstance(cause, ExceptionGroup):
        cause = cause.exceptions[0]
    while cause.__cause__ and line_in(cause, file) is None:
        cause = cause.__cause__
    if (line := line_in(cause, file)) is None:
        text = str(error) if type(error) in OURS else describe(error)
        return one_line(text.replace(file, ROOM))
    what = f"SyntaxError: {cause.msg}" if isinstance(cause, SyntaxError) else describe(cause)
    return one_line(f"{f'{SCENARIO}, ' if file == SCENARIO else ''}line {line}: {what}")


def line_in(error: BaseException, file: str) -> int | None:
    """The innermost line of this file where it was raised, or which cannot be read."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None
