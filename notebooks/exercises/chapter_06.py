"""Checks for chapter 06, in virtual time but for the first. Each counts what is kept, and says what is missing."""

import tempfile
from functools import partial
from itertools import chain

from chatroom_lib import Kill, Message, Scenario, commuter, listener, run, simulate, talker
from chatroom_lib.reference_rooms import CommitBehind
from chatroom_lib.rooms import v6
from exercises import exercise, found, is_a_reason, kept, no_errors

SEEDS = 10
HOUR = 3600.0  # seconds
LAST = "/chatroom?last=1000"


# ---------------------------------------------------------------- forget me

SAID = [("Ann", "my number is 555"), ("Bob", "noted"), ("Ann", "thanks"), ("Cy", "hello"), ("Ann", "forget me")]


@exercise
def check_ann_is_forgotten(room: type) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before, after, again = run(forget(room, "Ann", f"{folder}/ann.db"))
        _, without_bob, _ = run(forget(room, "Bob", f"{folder}/bob.db"))
    numbers = [message.seq for message in after]
    hers = [message.content for message in before if message.token == "Ann"]
    words = [text for text in hers if any(text in message.content for message in after)]
    others = [message for message in before if message.token != "Ann"]
    theirs = [message for message in after if message.token in ("Bob", "Cy")]
    bobs = [message for message in without_bob if "noted" in message.content]
    kept(
        {
            "nobody finds her words": found(not words, f"now {', '.join(words)}"),
            "what others have said stays theirs, and theirs alone": found(theirs == others, "it does not"),
            "the numbers have no hole": found(numbers == [1, 2, 3, 4, 5], f"now {numbers}"),
            "the room goes on with the next number": found(again == 6, f"now {again}"),
            "Bob can be forgotten instead": found(not bobs and len(without_bob) == 5, "he cannot"),
        }
    )


async def forget(room: type, name: str, path: str) -> tuple[list[Message], list[Message], int | str]:
    """The messages before and after somebody is forgotten, and the number of the next, in a room that has started
    again."""
    async with room(path) as first:
        before = await first.history.append([Message(*said, id=f"{number}") for number, said in enumerate(SAID)])
        await first.forget(name)
    async with room(path) as second:
        after = await second.history.before(1000, 1000)
        try:
            (message,) = await second.history.append([Message("Bob", "anyone?")])
            return before, after, message.seq
        except Exception as error:
            return before, after, str(error)


# ---------------------------------------------------------------- fewer commits


@exercise
def check_commits_are_few(room: type) -> None:
    runs = [
        [simulate(partial(room, limit=None), busy(power), seed) for seed in range(SEEDS)] for power in (False, True)
    ]
    for trace in chain(*runs):
        no_errors(trace)
    calm = simulate(partial(room, limit=None), Scenario(people(), duration=3))
    commits = len({event.time for event in calm.of("written")})
    slowest = 1000 * max((delay for _, delay in calm.latencies()), default=float("inf"))
    lost, cut = (sum(len(trace.lost()) for trace in traces) for traces in runs)
    heard, words = len(calm.heard("Cy")), sum(client.says for client in people())
    kept(
        {
            f"all {words} messages are heard": found(heard == words, f"now {heard}"),
            "at most 25 commits in the second in which they are said": found(commits <= 25, f"now {commits}"),
            "whatever is heard survives a kill": found(not lost, f"now {lost} are lost, with {SEEDS} seeds"),
            "and a power cut": found(not cut, f"now {cut} are lost, with {SEEDS} seeds"),
            "a message is heard within 80 ms": found(slowest <= 80, f"now {slowest:.0f} ms"),
        }
    )


def people() -> list:
    return [*(talker(name, says=50, every=0.02, size=20) for name in ("Ann", "Bob")), listener("Cy")]


def busy(power: bool) -> Scenario:
    return Scenario([*people(), listener("Eve", joins=2, path=LAST)], duration=4, kills=[Kill(0.706, power=power)])


# ---------------------------------------------------------------- the dispatchers


@exercise
def check_the_dispatchers(choice: type) -> None:
    room = partial(Dispatch, choice.tells, choice.synchronous, HOUR * choice.keeps_hours)
    killed, cut = ([simulate(room, crash(power), seed) for seed in range(SEEDS)] for power in (False, True))
    alone, days = simulate(room, Scenario(people(), duration=3)), simulate(room, three_days())
    for trace in (*killed, *cut, alone, days):
        no_errors(trace)
    slowest = 1000 * max((delay for _, delay in alone.latencies()), default=float("inf"))
    lost = [sum(len(trace.lost()) for trace in traces) for traces in (killed, cut)]
    found_later = days.heard("Eve")
    kept(
        {
            "a message is heard within 40 ms": found(slowest <= 40, f"now {slowest:.0f} ms"),
            "after a crash nothing is missing": found(not lost[0], f"now {lost[0]} messages, with {SEEDS} seeds"),
            "nor after a power cut": found(not lost[1], f"now {lost[1]} messages, with {SEEDS} seeds"),
            "what is a day old can be read": found("Ann 2" in found_later, "it is gone"),
            "what is two days old cannot": found("Ann 1" not in found_later, "it can"),
            "a reason, in why": found(is_a_reason(choice.why), "five words or more"),
        }
    )


def crash(power: bool) -> Scenario:
    talk = [commuter(name, says=50, every=0.02, size=20) for name in ("Ann", "Bob")]
    return Scenario([*talk, listener("Eve", joins=4, path=LAST)], duration=6, kills=[Kill(0.706, power=power)])


def three_days() -> Scenario:
    """Ann speaks now, a day later and another day later; then Eve asks for what there is."""
    ann = talker("Ann", at=[1, 24 * HOUR, 48 * HOUR], says=3, size=20)
    return Scenario([ann, listener("Eve", joins=48 * HOUR + 60, path=LAST)], duration=50 * HOUR)


def Dispatch(tells: str, synchronous: str, max_age: float, path: str):
    """The room that has been chosen."""
    orders = {"before writing": CommitBehind, "after writing": v6.Room}
    if tells not in orders or synchronous not in ("NORMAL", "FULL"):
        raise ValueError('tells is "before writing" or "after writing", and synchronous "NORMAL" or "FULL"')
    room = orders[tells](path, limit=None)
    room.history.synchronous, room.history.max_age = synchronous, max_age
    return room
