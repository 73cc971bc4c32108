"""Is there a cycle among tasks that wait for each other?

Each Wait names the tasks that could end it. They form an AND-OR graph: any consumer of a full queue ends the wait of a
task that puts something into it, and it takes all holders of a lock to end the wait of a task that wants it. (E. Knapp,
"Deadlock detection in distributed databases", ACM Computing Surveys, December 1987.)
"""

from collections.abc import Sequence

from chatroom_lib.trace.records import Wait


def cycle(waits: Sequence[Wait]) -> list[Wait]:
    """The shortest cycle of tasks, each of which waits for the next, and the last for the first, and which no other
    task can end; [] if there is none."""
    stuck = deadlocked(waits)
    cycles = [found for start in sorted(stuck) if (found := shortest_cycle(waits, start, stuck))]
    return [waits[index] for index in min(cycles, key=len, default=[])]


def deadlocked(waits: Sequence[Wait]) -> set[int]:
    """The indices of the tasks that wait, directly or not, for no task but each other."""
    stuck = {index for index, wait in enumerate(waits) if wait.blocked and wait.needs}
    while True:
        free = {index for index in stuck if can_end(waits[index], stuck)}
        if not free:
            return stuck
        stuck -= free


def can_end(wait: Wait, stuck: set[int]) -> bool:
    moving = [index not in stuck for index in wait.needs]
    return any(moving) if wait.any_will_do else all(moving)


def shortest_cycle(waits: Sequence[Wait], start: int, among: set[int]) -> list[int]:
    """The indices along the shortest cycle through `start`; [] if there is none."""
    paths, reached = [[start]], {start}
    for path in paths:  # grows while we walk through it: breadth first
        for index in among.intersection(waits[path[-1]].needs):
            if index == start:
                return path
            if index not in reached:
                reached.add(index)
                paths.append([*path, index])
    return []
