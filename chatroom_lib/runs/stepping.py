"""A run that can be stepped through: `trace, moments, left_out = step_through(room, scenario, seed)`."""

import random
from collections.abc import Callable

from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.instrumentation.moments import MOST_MOMENTS, MomentRecorder
from chatroom_lib.rooms import Room, RoomSpec
from chatroom_lib.runs.simulation import simulate
from chatroom_lib.trace.moments import Steps


def step_through(
    room: RoomSpec | Room,
    scenario: Scenario | Callable[[random.Random], Scenario],
    seed: int = 0,
    *,
    keepalive: float | None = None,
    most: int = MOST_MOMENTS,
) -> Steps:
    """The run that `simulate` makes of these, with a Moment after each step in which something changes. After `most` of
    them, or when they have become too much to keep, the rest is left out. Raises what `simulate` raises."""
    recorder = MomentRecorder(most)
    with recorder.noting_lines():
        trace = simulate(room, scenario, seed, keepalive=keepalive, recorder=recorder)
    return recorder.steps(trace)
