"""The checks behind each chapter's exercises. A check says "Solved." or what is still missing; it never raises."""

from collections.abc import Callable
from functools import wraps

from chatroom_lib import Trace


class NotYet(Exception):
    """The exercise is not solved yet; the text says what was seen."""


def check(verify: Callable[[type], None]) -> Callable[[type], bool]:
    """Make a check of a function that raises NotYet. The check prints its verdict and returns it."""

    @wraps(verify)
    def checked(room: type) -> bool:
        try:
            verify(room)
        except NotYet as seen:
            print(f"Not yet: {seen}")
            return False
        except Exception as error:
            print(f"Not yet: the room does not run: {type(error).__name__}: {error}")
            return False
        print("Solved.")
        return True

    return checked


def no_errors(trace: Trace) -> None:
    if trace.errors:
        error = trace.errors[0]
        raise NotYet(f"with seed {trace.seed} the room raises {type(error).__name__}: {error}")


def everyone_hears_everything(trace: Trace, names: tuple[str, ...], messages: int) -> None:
    for name in names:
        if sorted(set(trace.heard(name))) != sorted(trace.heard(name)) or len(trace.heard(name)) != messages:
            raise NotYet(f"with seed {trace.seed} {name} hears {len(trace.heard(name))} messages of {messages}")
