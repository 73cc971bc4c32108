"""Is there a cycle among tasks that wait for each other?

Each Wait names the tasks that could end it. They form an AND-OR graph: any consumer of a full queue ends the wait of a
task that puts something into it, and it takes all holders of a lock to end the wait of a task that wants it. (E. Knapp,
"Deadlock detection in distributed databases", ACM Computing Surveys, December 1987.)
"""

from collections.abc import Sequence

from chatroom_lib.trace.records import Wait


def cycle(waits: Sequence[Wait]) -> list[Wait]:
    """The shortest circle of tasks each of which waits for the next, and the last for the first, and which nobody else
    can end; [] if there is none."""
    stuck = deadlocked(waits)
    circles = [circle for place in sorted(stuck) if (circle := way_back(waits, place, stuck))]
    return [waits[place] for place in min(circles, key=len, default=[])]


def deadlocked(waits: Sequence[Wait]) -> set[int]:
    """The places of those who wait, directly or not, for nobody but each other."""
    stuck = {place for place, wait in enumerate(waits) if wait.blocked and wait.needs}
    while True:
        free = {place for place in stuck if can_end(waits[place], stuck)}
        if not free:
            return stuck
        stuck -= free


def can_end(wait: Wait, stuck: set[int]) -> bool:
    moving = [place not in stuck for place in wait.needs]
    return any(moving) if wait.any_will_do else all(moving)


def way_back(waits: Sequence[Wait], start: int, among: set[int]) -> list[int]:
    """The shortest way from a task to itself along `needs`, without the return; [] if there is none."""
    ways, reached = [[start]], {start}
    for way in ways:  # grows while we walk through it: breadth first
        for place in among.intersection(waits[way[-1]].needs):
            if place == start:
                return way
            if place not in reached:
                reached.add(place)
                ways.append([*way, place])
    return []
