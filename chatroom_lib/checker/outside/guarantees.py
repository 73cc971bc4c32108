"""The guarantees as they are judged from outside, where nobody looks into the room: by what people hear, and by what
the server's process has, if that is known.

What needs a look inside, or minutes, is not tested, and says so. Whoever is late while our own clients were late, too,
is not blamed.
"""

from collections.abc import Callable
from operator import attrgetter

from chatroom_lib.checker import guarantees
from chatroom_lib.checker.guarantees import (
    GROUPS,
    GUARANTEES,
    KEPT,
    LEAK_TOLERANCE,
    PROMPT,
    SETTLED,
    Verdict,
    broken,
    untested,
)
from chatroom_lib.checker.outside.scenarios import MUCH, NONSENSE
from chatroom_lib.clients.scenario import NEVER
from chatroom_lib.runs.outside import OutsideTrace
from chatroom_lib.trace import Event, speaker

GRACE = 0.25  # seconds that a server has to admit a newcomer
LATE_OURSELVES = 0.25  # seconds; if our own clients were later than that, nobody is called late
FILLED = 200_000  # characters that must be said to somebody who does not read: the system's buffers take 70,000
GROWN = 8 << 20  # bytes by which a process may grow for other reasons
NO_PROCESS = "the server's process is not known: give its --pid, or a --command"
NOT_FROM_OUTSIDE = "nobody can see that from outside"
TAKES_MINUTES = "that takes minutes"
ABOUT_TIME = ("no-false-eviction", "prompt-join", "no-head-of-line-blocking", "recovery")
OF_THE_LIVING = (*ABOUT_TIME, "admission", "no-leak", "bounded-memory")  # not judged of a server that has ended
ALSO_IN_BULK = ("at-most-once", "total-order", "no-crash", "no-leak", "bounded-memory")

UNFINISHED = untested("the run was over before all had been heard")
# So much is said that who reads as fast as we can may be late, and lose something by right; other scenarios tell more.
TOO_MUCH = untested("")

Judge = Callable[[OutsideTrace], Verdict]
OUTSIDE: dict[str, Judge] = {}


def outside(name: str) -> Callable[[Judge], Judge]:
    def add(function: Judge) -> Judge:
        OUTSIDE[name] = function
        return function

    return add


def not_if_we_were_late(function: Judge) -> Judge:
    """Nobody is blamed for being late if this machine was too busy to tell."""

    def judge(trace: OutsideTrace) -> Verdict:
        verdict = function(trace)
        return we_were_late(trace) if verdict.kept is False and trace.lag > LATE_OURSELVES else verdict

    return judge


def we_were_late(trace: OutsideTrace) -> Verdict:
    """The verdict where what was late may have been our own clients."""
    return untested(f"this machine was busy: our own clients were up to {trace.lag:.1f} s late")


def judge(trace: OutsideTrace) -> dict[str, Verdict]:
    """The verdict on each guarantee. What was lost counts as lost, and not as late besides."""
    trace = owed(trace)
    verdicts, found = {}, without_losses(trace)
    for name in GUARANTEES:
        judged = found if name in ABOUT_TIME else trace
        verdicts[name] = cannot_tell(name, trace) or OUTSIDE[name](judged)
    return verdicts


def cannot_tell(name: str, trace: OutsideTrace) -> Verdict | None:
    """The verdict on a guarantee of which nothing can be said, or not after such a run; None: it is judged."""
    if name not in OUTSIDE:
        return untested(TAKES_MINUTES if GROUPS[name] == "presence" else NOT_FROM_OUTSIDE)
    if trace.ended and name in OF_THE_LIVING:
        return untested("the server has ended")
    return TOO_MUCH if planned(trace) >= MUCH and name not in ALSO_IN_BULK else None


def owed(trace: OutsideTrace) -> OutsideTrace:
    """The same run without those who send nonsense: they are owed nothing."""
    return trace.changed(clients=tuple(client for client in trace.clients if client.first not in NONSENSE))


def without_losses(trace: OutsideTrace) -> OutsideTrace:
    """The same run, as if people had heard what they missed while they heard in time what was said right after it, and
    the very last word if they heard the one before: nothing was late then, something was lost."""
    said, heard = guarantees.said_once_for_all(trace), list[Event]()
    if len(said) < 2:
        return trace
    for name in trace.names if trace.reach() else ():
        times = guarantees.times_heard(trace, name)
        following = NEVER  # when the next one was said that was heard in time
        for event in reversed(said):
            if times.get(event, NEVER) <= event.time + PROMPT:
                following = event.time
            elif event not in times and (following <= event.time + PROMPT or (event is said[-1] and said[-2] in times)):
                heard.append(Event(event.time, "heard", name, event.message))
    return with_events(trace, heard) if heard else trace


def with_events(trace: OutsideTrace, more: list[Event]) -> OutsideTrace:
    return trace.changed(events=sorted([*trace.events, *more], key=attrgetter("time")))


# ---------------------------------------------------------------- safety


@outside("delivery")
def delivery(trace: OutsideTrace) -> Verdict:
    verdict = guarantees.delivery(trace)
    if verdict.kept is False and (trace.unfinished or trace.ended):
        return UNFINISHED
    if verdict.kept is False and leaves_speakers_out(trace):
        others = guarantees.delivery(with_events(trace, own_words(trace)))
        if others.kept is False:
            return broken(f"{others.evidence}; besides, nobody hears what they say themselves")
        return broken("nobody hears what they say themselves; to the others nothing is lost")
    return verdict


def leaves_speakers_out(trace: OutsideTrace) -> bool:
    return bool(trace.of("heard")) and not any(speaker(event.message) == event.who for event in trace.of("heard"))


def own_words(trace: OutsideTrace) -> list[Event]:
    """What people said, as if they had heard it themselves."""
    return [event._replace(kind="heard") for event in trace.of("said")]


OUTSIDE["at-most-once"] = guarantees.at_most_once
OUTSIDE["total-order"] = guarantees.total_order


@outside("no-false-eviction")
def no_false_eviction(trace: OutsideTrace) -> Verdict:
    """While somebody does not read, a server may still be sending to others: who hears nothing then is not deaf. Nor is
    anybody, if in the end the whole room stands still; and who has never heard anything was not let in."""
    lost = trace.disconnected()
    people = [client.name for client in trace.clients if guarantees.is_healthy(client)]
    people = [name for name in people if trace.of("joined", who=name)]
    for name in sorted(people, key=lambda name: lost.get(name, NEVER)):
        if name in lost:
            why = {event.who: event.message for event in trace.of("lost")}[name]
            return broken(f"{name}, a healthy client, was disconnected at {lost[name]:.3f} s{f' ({why})' * bool(why)}")
    gone, late = trace.gone(), guarantees.late_readers(trace)
    since = max([gone.get(name, NEVER) + SETTLED for name in late if trace.of("joined", who=name)], default=0.0)
    missed = guarantees.deaf(trace) if is_heard_to_the_end(trace) and not trace.unfinished else {}
    times = {event.message: event.time for event in trace.of("said")}
    for name in people:
        first = min(guarantees.times_heard(trace, name).values(), default=NEVER)
        if name in missed and name not in gone and all(times[each] > max(since, first) for each in missed[name]):
            return guarantees.gone_deaf(name, missed[name])
    return KEPT if people else untested("no healthy client came")


def is_heard_to_the_end(trace: OutsideTrace) -> bool:
    """Did anybody but the speakers hear one of the last things that were said?"""
    last = guarantees.said_once_for_all(trace)[-guarantees.DEAF_AFTER :]
    return any(
        event in guarantees.times_heard(trace, name) for name in trace.names for event in last if event.who != name
    )


@outside("no-crash")
def no_crash(trace: OutsideTrace) -> Verdict:
    if trace.ended:
        return broken(f"the server ended at {trace.duration:.3f} s: {trace.ended}")
    return untested(NO_PROCESS) if trace.before is None else KEPT


# ---------------------------------------------------------------- waiting


@outside("admission")
@not_if_we_were_late
def admission(trace: OutsideTrace) -> Verdict:
    """Who hears something, or is heard, is let in. Who is neither, while others hear what is said, is not. If all hear
    late, nobody can tell."""
    people = [client.name for client in trace.clients if guarantees.is_healthy(client)]
    for event in guarantees.shut_out(trace, people):
        why = f": {event.message}" * bool(event.message)
        return broken(f"{event.who} could not connect at {event.time:.3f} s{why}")
    said, unclear, tested = guarantees.said_once_for_all(trace), "", False
    heard = {name: guarantees.times_heard(trace, name) for name in trace.names}
    seen, knocked = first_seen(heard), {client.name: client.joins for client in trace.clients}
    for name in [name for name in people if trace.of("joined", who=name)]:
        visit, let_in = trace.visits()[name][0], seen.get(name, NEVER)
        came, until = visit.joined, min(visit.ended, trace.duration) - PROMPT
        if came > (knocked[name] or NEVER) + PROMPT:
            return broken(f"{name} knocked at {knocked[name]:.3f} s, and was connected at {came:.3f} s")
        if visit.how == "lost" and let_in == NEVER:
            return broken(f"{name} joined at {came:.3f} s, and was disconnected at {visit.ended:.3f} s, never let in")
        following = [event for event in said if came < event.time < until and event.who != name]
        for event in following:
            if came + PROMPT < event.time < let_in - PROMPT and heard_by_others(event, name, heard):
                when = "never let in" if let_in == NEVER else f"let in at {let_in:.3f} s"
                return broken(f"{name} joined at {came:.3f} s, and was {when}: others heard {event.message}")
        if following and let_in > following[0].time + PROMPT:
            unclear = unclear or name
        tested = tested or bool(following)
    if unclear:
        return untested(f"{unclear} heard nothing at first, nor did others: whether they were let in, nobody can see")
    return KEPT if tested else untested("no healthy client came, and stayed while others talked")


def first_seen(heard: dict[str, dict[Event, float]]) -> dict[str, float]:
    """When each first heard something, or was heard by another. `heard`: listener -> what was said -> when."""
    seen: dict[str, float] = {}
    for listener, times in heard.items():
        for said, time in times.items():
            for name in (listener, said.who):
                seen[name] = min(time, seen.get(name, NEVER))
    return seen


def heard_by_others(said: Event, name: str, heard: dict[str, dict[Event, float]]) -> bool:
    """Did anybody else than its speaker and `name` hear it in time?"""
    others = (times for who, times in heard.items() if who not in (name, said.who))
    return any(times.get(said, NEVER) <= said.time + PROMPT for times in others)


@outside("prompt-join")
@not_if_we_were_late
def prompt_join(trace: OutsideTrace) -> Verdict:
    return guarantees.joins_promptly(trace, GRACE)


@outside("no-head-of-line-blocking")
@not_if_we_were_late
def no_head_of_line_blocking(trace: OutsideTrace) -> Verdict:
    verdict = guarantees.no_head_of_line_blocking(trace)
    return too_little(trace) if verdict.kept and too_little(trace) else verdict


@outside("recovery")
@not_if_we_were_late
def recovery(trace: OutsideTrace) -> Verdict:
    deaths = [event.time for event in trace.of("vanished")]
    lost = {who: time for who, time in trace.disconnected().items() if not any(0 <= time - d < GRACE for d in deaths)}
    others = tuple(client for client in trace.clients if client.name not in lost)  # no death is to blame for those
    verdict = guarantees.recovery(trace.changed(clients=others))
    if verdict.kept is False and trace.unfinished:
        return UNFINISHED
    return too_little(trace) if verdict.kept and too_little(trace) else verdict


def too_little(trace: OutsideTrace) -> Verdict | None:
    """The verdict if the buffers of those who do not read were not full."""
    frozen = [client.name for client in trace.clients if client.pause == NEVER]
    most = max((characters_to(name, trace) for name in frozen), default=0)
    if most >= FILLED or not frozen:
        return None
    return untested(f"only {most // 1000} kB were said to who does not read: too little to fill the buffers")


def characters_to(name: str, trace: OutsideTrace) -> int:
    """That were said, and heard by somebody or stuck, while `name` was connected."""
    sizes = {client.name: client.size for client in trace.clients}
    visit = (trace.visits()[name] or [None])[0]
    return sum(sizes[event.who] for event in trace.of("said") if visit and visit.joined < event.time < visit.ended)


# ---------------------------------------------------------------- resources


@outside("no-leak")
def no_leak(trace: OutsideTrace) -> Verdict:
    """Descriptors, of sockets and files, are given back within three seconds after all have left."""
    if trace.before is None or trace.after is None:
        return untested(NO_PROCESS)
    left, came = trace.after.descriptors - trace.before.descriptors, len(trace.of("joined", "shut out", "vanished"))
    if left > LEAK_TOLERANCE:
        return broken(f"some {came} people came and left, and {left} more descriptors are open than before")
    return KEPT if trace.of("joined") else untested("nobody came")


@outside("bounded-memory")
@not_if_we_were_late
def bounded_memory(trace: OutsideTrace) -> Verdict:
    """The process stops growing while much is said to people who do not read. `check_server` compares it with a run in
    which everybody reads."""
    if planned(trace) < MUCH or all(guarantees.reads_at_all(client) for client in trace.clients):
        return untested("everybody reads, or too little is said")
    if trace.before is None:
        return untested(NO_PROCESS)
    said, (late, grown) = said_by(trace, NEVER), growth(trace)
    if grown > max(GROWN, late / 2):
        return broken(f"{late / 1e6:.0f} MB were said to people who do not read, and it grew by {grown / 1e6:.0f} MB")
    stuck = said < planned(trace)
    return KEPT if said >= MUCH or stuck else untested(f"only {said / 1e6:.1f} MB could be said to who does not read")


def growth(trace: OutsideTrace) -> tuple[int, int]:
    """(characters said, bytes grown) in the last two thirds of what was said."""
    said = trace.of("said")
    middle = said[len(said) // 3].time if said else 0.0
    before = max((usage.memory for usage in trace.usages if usage.time <= middle), default=0)
    after = max((usage.memory for usage in trace.usages if usage.time > middle), default=0)
    return said_by(trace, NEVER) - said_by(trace, middle), after - before if before and after else 0


def said_by(trace: OutsideTrace, time: float) -> int:
    """Characters that had been said by then."""
    sizes = {client.name: client.size for client in trace.clients}
    return sum(sizes[event.who] for event in trace.of("said") if event.time <= time)


def planned(trace: OutsideTrace) -> int:
    """Characters that were to be said."""
    return sum(client.says * client.size for client in trace.clients)


@outside("rate-limit")
def rate_limit(trace: OutsideTrace) -> Verdict:
    verdict = guarantees.rate_limit(trace)
    if verdict.kept is False and "refused" in verdict.evidence:
        return not_if_we_were_late(guarantees.rate_limit)(trace)
    return verdict
