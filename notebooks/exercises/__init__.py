"""The checks behind each chapter's exercises. A check says "Solved." or what is still missing; it never raises."""

from collections.abc import Callable
from functools import wraps


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
