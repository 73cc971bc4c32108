"""The questions that a page can ask: `ask(name, values)`, both as JSON, since a page has no other values in common with
Python."""

import json
import sys
from collections.abc import Callable
from inspect import isawaitable

import chatroom_lib
from chatroom_lib.browser import try_it
from chatroom_lib.browser.cells import Chapter
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.rooms import Room, RoomSpec
from chatroom_lib.runs.simulation import simulate
from chatroom_lib.trace import Trace

chapter = Chapter(vars(sys.modules["__main__"]))
QUESTIONS: dict[str, Callable] = {
    "needed": chapter.needed,
    "run": chapter.run,
    "starts": try_it.starts,
    "scenarios": try_it.scenarios,
    "try_room": try_it.try_room,
    "check_room": try_it.check_room,
}


async def ask(question: str, values: str) -> str:
    """`values`: an object, the arguments by name."""
    answer = QUESTIONS[question](**json.loads(values))
    return json.dumps(await answer if isawaitable(answer) else answer)


async def simulated(room: RoomSpec | Room, scenario: Scenario, *, keepalive: float | None = None) -> Trace:
    """What `live` does where there are no sockets; the page says so beside each cell that calls it."""
    return simulate(room, scenario, seed=0, keepalive=keepalive)


chatroom_lib.live = simulated
