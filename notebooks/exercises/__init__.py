"""The checks behind each chapter's exercises. A check prints "Solved." or what is still missing; it never raises."""

from collections.abc import Callable, Mapping
from functools import wraps

from chatroom_lib import Trace
from chatroom_lib.runtime.platform import NotHere


class NotYet(Exception):
    """The exercise is not solved yet; the text says what the room did wrong."""


def exercise(verify: Callable[[type], None]) -> Callable[[type], bool]:
    """Turn a function that raises NotYet into a check, which prints its verdict and returns whether the room passed."""

    @wraps(verify)
    def check(room: type) -> bool:
        try:
            verify(room)
        except NotYet as reason:
            print(f"Not yet: {reason}")
            return False
        except NotHere as reason:
            print(f"This exercise needs a Python of your own: {reason}")
            return False
        except Exception as error:
            print(f"Not yet: the room does not run: {type(error).__name__}: {error}")
            return False
        print("Solved.")
        return True

    return check


def kept(requirements: Mapping[str, Callable[[], None]]) -> None:
    """Try all requirements, so that the verdict counts up: a sentence, and a function that raises NotYet, with the
    evidence, if the room does not keep it. Raises NotYet, "2 of 4 kept. Missing:" and a line for each, if any is not.
    """
    missing = [f"  {sentence}: {reason}" for sentence, verify in requirements.items() if (reason := why_not(verify))]
    if missing:
        count = f"{len(requirements) - len(missing)} of {len(requirements)} kept"
        raise NotYet("\n".join([f"{count}. Missing:", *missing]))


def found(holds: bool, now: str) -> Callable[[], None]:
    """A requirement that has been tried: whether it holds, and what was seen."""

    def verify() -> None:
        if not holds:
            raise NotYet(now)

    return verify


def why_not(verify: Callable[[], None]) -> NotYet | None:
    try:
        verify()
    except NotYet as reason:
        return reason
    return None


def is_a_reason(text: str) -> bool:
    """Five words or more."""
    return len(str(text).split()) >= 5


def no_errors(trace: Trace) -> None:
    if trace.errors:
        error = trace.errors[0]
        raise NotYet(f"with seed {trace.seed} the room raises {type(error).__name__}: {error}")


def everyone_hears_everything(trace: Trace, names: tuple[str, ...], messages: int) -> None:
    for name in names:
        if sorted(set(trace.heard(name))) != sorted(trace.heard(name)) or len(trace.heard(name)) != messages:
            raise NotYet(f"with seed {trace.seed} {name} hears {len(trace.heard(name))} messages of {messages}")
