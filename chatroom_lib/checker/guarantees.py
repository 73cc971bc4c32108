"""What a chat room must guarantee its users. Each guarantee is a function of a Trace, and its docstring is the promise.

    judge(simulate("v1", scenario))["delivery"]     # Verdict(kept=False, evidence="Cy never heard Ann 5 ...")

A run that cannot tell, because nobody in it froze, died or flooded, gets the verdict "not tested", never "kept".
A *healthy* client reads promptly and sends at human pace. Whether people hear what they have said themselves counts in
`delivery` and `answered`, and nowhere else.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import NamedTuple

from chatroom_lib.checker import history, isolation
from chatroom_lib.checker.instead import what_came_instead
from chatroom_lib.clients.scenario import NEVER, Client
from chatroom_lib.runtime.console import describe
from chatroom_lib.trace import Event, Trace, Visit, speaker

PROMPT = 1.0  # seconds within which a healthy client must hear a message
GRACE = 0.05  # seconds that a room has to admit a newcomer
SETTLED = 1.0  # seconds after which a room must have noticed a departure
HUMAN = 0.5  # seconds between two messages at human pace, at least
FLOOD = 10.0  # messages a second; more than that from one client is a flood
WINDOW = 10.0  # seconds over which a flood is counted
NOTICED = 60.0  # seconds within which a room must have noticed that a line is dead
RETURNED = 30.0  # seconds after a restart within which all who were cut off must be back
LONG_DARK = 10.0  # seconds; nobody can tell a line that is dark for longer from one that is dead
LITTLE = 60_000  # characters; if no more than that is said, a room can keep all of it for whoever reads slowly
SLOWEST = 250  # characters a second; whoever reads more slowly than that cannot be told from the dead,
LONGEST_PAUSE = 6.0  # seconds; nor can whoever reads less than a message in that time
ENOUGH = 300  # messages that must be said before a room's memory is judged
MEMORY_TOLERANCE = 32  # messages by which a room's memory may vary without growing
LEAK_TOLERANCE = 2  # tasks and connections of departed clients that a room may still retain
DEAF_AFTER = 3  # messages in a row that the others hear; a client that misses them is deaf
NO_PATH = "the room takes no `path` to keep a history in"
NO_NUMBERS = "no message had a number"
NO_IDS = "the room passes no ids on"
NO_PINGS = "the room pings nobody"
NO_POSITIONS = "the room tells nobody where they are in its history"
ONE_SERVER = "the room does not say that several servers may have one history"
NO_NATS = "the room takes no `nats`, the address of a log that it shares with others"
NO_CUT = "no server was cut off from a log that it shares with others"
# Whoever builds such a room has promised nothing of the kind.
NOT_PROMISED = {NO_PATH, NO_PINGS, ONE_SERVER, NO_NATS, NO_CUT}


class Verdict(NamedTuple):
    kept: bool | None  # None: not tested
    evidence: str = ""  # who, what and when, if it is broken; why, if it is not tested


Guarantee = Callable[[Trace], Verdict]
Guarantees = Mapping[str, Guarantee]  # by their names
GUARANTEES: dict[str, Guarantee] = {}
GROUPS: dict[str, str] = {}  # name -> what it is about
KEPT = Verdict(True)


def guarantee(group: str) -> Callable[[Guarantee], Guarantee]:
    """Adds a function to GUARANTEES."""

    def add(function: Guarantee) -> Guarantee:
        name = function.__name__.strip("_").replace("_", "-")
        GUARANTEES[name], GROUPS[name] = function, group
        return function

    return add


def judge(trace: Trace, guarantees: Guarantees = GUARANTEES) -> dict[str, Verdict]:
    """The verdict on each guarantee."""
    return {name: function(trace) for name, function in guarantees.items()}


def broken(evidence: str) -> Verdict:
    """For a guarantee of your own: it is broken, by whom, how and when."""
    return Verdict(False, evidence)


def untested(why: str) -> Verdict:
    """For a guarantee of your own: this run cannot tell, and why."""
    return Verdict(None, why)


# ---------------------------------------------------------------- the guarantees


@guarantee("safety")
def delivery(trace: Trace) -> Verdict:
    """Every message reaches all clients that are in the room by then, stay and read.

    The speaker hears it, too, and slow readers count as readers. A message need not be passed on if the room refuses
    it and tells the speaker, if its speaker has left and the room has not read it, or if the room disconnects a flooder
    for it. What is said within a second before the server is killed, or a line is cut, need not arrive there, nor what
    the room tells to be gone (`no-gap`). What is said twice is to be heard twice.
    """
    gone, missed = trace.gone(), trace.missed(PROMPT)
    stayed = [client.name for client in trace.clients if reads_at_all(client) and client.name in missed]
    stayed = [name for name in stayed if name not in gone]
    kicked = {*trace.disconnected()} - {client.name for client in trace.clients if is_healthy(client)}
    heard = {event.message for event in trace.of("heard")}
    for name in stayed:
        told = history.told_to_be_gone(trace, name)
        lost = [message for message in missed[name] if message in heard or speaker(message) not in kicked]
        if lost := [message for message in lost if message not in told]:
            if times := trace.heard(name).count(lost[0]):
                said = Counter(event.message for event in trace.to_pass_on())[lost[0]]
                return broken(f"{name} heard {lost[0]} only {times} of the {said} times that it was said")
            return broken(f"{name} never heard {summarise(lost)}{what_came_instead(trace, name, lost)}")
    if any(trace.heard(name) for name in stayed):
        return KEPT
    return untested("no client stayed to which anything was said")


@guarantee("safety")
def at_most_once(trace: Trace) -> Verdict:
    """Nobody hears a message of somebody else's twice, unless it is said again.

    A room with a history may show it once more to whoever comes back, with the same number, or asks for a page.
    """
    said, again = trace.of("said"), trace.messages("said again")
    look_so = {said[place].message for place in again}
    for client in trace.clients:
        times: Counter[int] = Counter()
        shown: set[int] = set()  # the numbers that it may hear once more
        for _, heard in history.heard_by_visit(trace, client.name):
            for event, place in heard:
                if place is not None and place not in again and event.seq not in shown:
                    maybe_again = event.id is None and event.message in look_so
                    times[place] += said[place].who != client.name and not maybe_again
            if heard:
                shown |= {event.seq for event, _ in heard if event.seq is not None}
        for place, count in times.items():
            if count > 1 and not history.asks_for_a_page(client):
                return broken(f"{client.name} heard {said[place].message} {count} times")
    return KEPT if trace.orders() else untested("nobody heard anything")


@guarantee("safety")
def total_order(trace: Trace) -> Verdict:
    """Clients that hear the same messages of others hear them in the same order.

    Those of one speaker they hear in the order in which they were said. What comes of a history, with its numbers, may
    come later than what is said meanwhile. Of somebody who comes back, and says again what was lost, the order is that
    in which the room has read it.
    """
    for one, other, a, b in trace.disagreements():
        if not {one, other} & {speaker(a), speaker(b)}:
            return broken(f"{one} heard {a} before {b}, and {other} the other way round")
    stay = {client.name for client in trace.clients if not client.returns}
    for name, earlier, later in trace.overtakings():
        if speaker(earlier) in stay - {name}:
            return broken(f"{name} heard {later} before {earlier}, which was said earlier")
    times = Counter(place for order in trace.first_hearings().values() for place in order)
    if sum(count > 1 for count in times.values()) > 1:
        return KEPT
    return untested("no two people heard the same two messages")


@guarantee("safety")
def no_false_eviction(trace: Trace) -> Verdict:
    """No healthy client is evicted, disconnected, or left deaf while others hear."""
    people = [client.name for client in trace.clients if is_healthy(client) and client.name in trace.first("joined")]
    evicted, lost = trace.evicted(), trace.disconnected()
    for name in people:
        if name in evicted or name in lost:
            when = min(evicted.get(name, NEVER), lost.get(name, NEVER))
            how = "evicted" if evicted.get(name) == when else "disconnected"
            return broken(f"{name}, a healthy client, was {how} at {when:.3f} s")
    if not any(wait.blocked for wait in trace.waits):  # else the room may still be sending
        gone, missed = trace.gone(), deaf(trace)
        for name in people:
            if name in missed and name not in gone:
                return gone_deaf(name, missed[name])
    let_in = set(people) & set(trace.first("entered"))
    return KEPT if let_in else untested("no healthy client has entered the pool")


def gone_deaf(name: str, missed: list[str]) -> Verdict:
    return broken(f"{name}, a healthy client, went deaf: the others heard {', '.join(missed)}")


@guarantee("safety")
def no_crash(trace: Trace) -> Verdict:
    """No exception goes unhandled in any task, and the room lets time pass.

    When the run is over and everybody is disconnected, its `__aexit__` raises nothing and returns.
    """
    if trace.errors:
        events = trace.of("error")
        when = f" at {events[0].time:.3f} s" if len(events) == len(trace.errors) else ""
        return broken(describe_error(trace.errors[0]) + when)
    if trace.ending in ("livelocked", "blocks the event loop"):
        why = "never becomes quiescent" if trace.ending == "livelocked" else trace.ending
        return broken(f"the room {why}: it is still busy at {trace.duration:.3f} s")
    if trace.exit_error:
        return broken(f"when the room is stopped, its __aexit__ fails: {describe_error(trace.exit_error)}")
    return KEPT


@guarantee("waiting")
def admission(trace: Trace) -> Verdict:
    """Every healthy client that comes is in the room within 1 s, whether anybody talks or not.

    Nobody can come while the server is down.
    """
    end = end_of_run(trace)
    joined, entered, lost = trace.first("joined"), trace.first("entered"), trace.disconnected()
    reasons = {event.who: f" ({event.message})" for event in trace.of("lost") if event.message}
    people = [client.name for client in trace.clients if is_healthy(client)]
    for event in shut_out(trace, people):
        why = f": {event.message}" * bool(event.message)
        return broken(f"{event.who} could not connect at {event.time:.3f} s{why}")
    tested = False
    for name in [name for name in people if name in joined]:
        came, stayed = joined[name], min(first_visit_end(name, trace), end)
        if entered.get(name, NEVER) <= came + PROMPT:
            tested = True
        elif lost.get(name, NEVER) < entered.get(name, NEVER):
            when = f"{lost[name]:.3f} s{reasons.get(name, '')}"
            return broken(f"{name} joined at {came:.3f} s, and was disconnected at {when}, never let in")
        elif came + PROMPT <= stayed:
            when = f"let in at {entered[name]:.3f} s" if name in entered else "never let in"
            return broken(f"{name} joined at {came:.3f} s, and was {when}{while_blocked(trace, came)}")
    return KEPT if tested else untested("no healthy client came, and stayed for a second")


@guarantee("waiting")
def prompt_join(trace: Trace) -> Verdict:
    """A client that joins while others talk hears their next message within 1 s.

    If they are due to talk, and have been silenced, it must at least be let in.
    """
    return joins_promptly(trace, GRACE)


def joins_promptly(trace: Trace, grace: float) -> Verdict:
    """The verdict on `prompt_join`. `grace`: seconds that the room has to admit a newcomer."""
    said, end = said_once_for_all(trace), end_of_run(trace)
    joined, entered = trace.first("joined"), trace.first("entered")
    newcomers = [client.name for client in trace.clients if is_healthy(client) and client.joins is not None]
    for event in shut_out(trace, newcomers):
        return broken(f"{event.who} could not connect at {event.time:.3f} s")
    tested = False
    for name in newcomers:
        since = joined.get(name, NEVER) + grace
        until = min(first_visit_end(name, trace), end)
        others = [event for event in said if event.who != name]
        if not others or others[0].time > since:
            continue
        after = [event for event in others if event.time >= since]
        if not after and entered.get(name, NEVER) > since + PROMPT and somebody_is_due(name, since, until, trace):
            return broken(f"{name} joined at {joined[name]:.3f} s, while others were due to speak, and was not let in")
        if not after or after[0].time + PROMPT > until:
            continue
        tested = True
        if late := how_late(after[0], times_heard(trace, name)):
            return broken(f"{name} joined at {joined[name]:.3f} s, and {late}{while_blocked(trace, joined[name])}")
    return KEPT if tested else untested("no client joined while others talked, and stayed")


@guarantee("waiting")
def no_head_of_line_blocking(trace: Trace) -> Verdict:
    """While a client reads late or not at all, the others hear within 1 s.

    `check` tries the first run that breaks it once more, with everybody reading at once, and blames those who did not
    read only for what is late with them alone.
    """
    tested = False
    for delay in delays(trace, late_readers(trace)):
        if delay.late:
            return broken(delay.blaming_readers(trace))
        tested = True
    return KEPT if tested else untested("no client read late or not at all while others talked")


@guarantee("waiting")
def recovery(trace: Trace) -> Verdict:
    """After the death of a client that did not read, all who were well before can speak, and hear.

    A client was well if it was in the room, and not deaf while others heard.
    """
    dead = [event for event in trace.of("vanished") if event.who in late_readers(trace)]
    if not dead:
        return untested("no client died that did not read")
    since, missed = dead[0].time + SETTLED, trace.missed(PROMPT)
    alive = [client for client in trace.clients if is_healthy(client) and was_well(client.name, dead[0].time, trace)]
    next_said = {event.message for event in trace.to_pass_on() if event.time >= since}
    for client in alive:
        lost = [message for message in missed.get(client.name, []) if message in next_said]
        if lost := [message for message in lost if speaker(message) != client.name]:
            return broken(
                f"{dead[0].who} died at {dead[0].time:.3f} s, and {client.name} never heard {summarise(lost)}"
            )
    for client in alive:
        said = len(trace.of("said", who=client.name))
        if client.name in trace.gone() and trace.killed_during(trace.visits()[client.name][-1]):
            continue
        if said < len(client.send_times) and end_of_run(trace) > due_time(client, trace, said) + SETTLED:
            return broken(f"{dead[0].who} died at {dead[0].time:.3f} s, and {client.name} could not go on speaking")
    return KEPT if alive and next_said else untested("nothing was said after the death")


@guarantee("resources")
def no_leak(trace: Trace) -> Verdict:
    """A client that has left, with or without a word, is out of the pool; no task is left.

    A task that keeps something for somebody who has left may take ten minutes to end. When the room is stopped, it
    leaves no more than two.
    """
    end = end_of_run(trace)
    departed = {name: time for name, time in trace.departed().items() if time + SETTLED <= end}
    gone = {name: time for name, time in departed.items() if trace.of("joined", who=name)}
    for name in trace.in_pool():
        if name in gone:
            return broken(f"{name} left at {gone[name]:.3f} s, and is in the pool at the end")
    if leak := trace.leak:
        for name, line in leak.visits.items():
            if name in gone:
                return broken(f"{name} left at {gone[name]:.3f} s, and a task still serves them: {line}")
        if len(leak.connections) > LEAK_TOLERANCE:
            return broken(f"the room retains the connections of {', '.join(leak.connections)}, who have left")
        if len(left := leak.orphaned_tasks) > LEAK_TOLERANCE:
            return broken(
                f"{len(left)} tasks are left that were made in visits of clients that have left{such_as(left)}"
            )
        if len(left := leak.tasks) > LEAK_TOLERANCE and set(trace.first("joined")) <= set(gone):
            return broken(
                f"everybody has left, and {len(left)} tasks are left that were not there at the start{such_as(left)}"
            )
    if len(trace.left_tasks) > LEAK_TOLERANCE:  # a heartbeat that nobody ends does no harm, since it is one
        return broken(f"when the room is stopped, its __aexit__ leaves tasks: {', '.join(trace.left_tasks[:3])}")
    return KEPT if gone else untested("nobody has left")


@guarantee("resources")
def bounded_memory(trace: Trace) -> Verdict:
    """What a room retains for a client that does not read stops growing.

    That is messages, tasks, and bytes in buffers. What it retains before it has read two thirds of all messages is
    compared with what it retains later. So in a run of 450 messages a bound of 300 or less is seen to be one. A room
    that stops reading retains no more.
    """
    planned = sum(len(client.send_times) for client in trace.clients)
    if planned < ENOUGH or all(reads_at_all(client) for client in trace.clients):
        return untested(f"fewer than {ENOUGH} messages, or every client reads")
    if not trace.memory:
        return untested("memory is sampled in simulated runs only")
    if not trace.of("accepted"):
        return untested("the room has read nothing")
    early = [sample for sample in trace.memory if sample.accepted <= planned * 2 / 3]
    late = [sample for sample in trace.memory if sample.accepted > planned * 2 / 3]
    if late and not early:
        return untested("it read most of the messages before the first sample")
    size = max(client.size for client in trace.clients)
    units = (
        ("messages", MEMORY_TOLERANCE),
        ("tasks", MEMORY_TOLERANCE),
        ("bytes", MEMORY_TOLERANCE * size),
        ("buffered", MEMORY_TOLERANCE * size),
    )
    for what, slack in units:
        before, after = (max((getattr(sample, what) for sample in part), default=0) for part in (early, late))
        if after > before * 1.2 + slack:
            unit = {"buffered": "bytes in buffers"}.get(what, what)
            counts = f"{before:,} {unit} after {early[-1].accepted} messages, {after:,} after {late[-1].accepted}"
            return broken(f"it retained up to {counts}")
    return KEPT


@guarantee("resources")
def rate_limit(trace: Trace) -> Verdict:
    """No client can flood the others, and none that types is refused.

    A flood is more than 10 messages a second, counted over 10 seconds. (A server that is cut off from a log which it
    shares with others may refuse what is said.)
    """
    for client in trace.clients:
        refused = [event for event in trace.of("refused", who=client.name) if not isolation.is_cut_off(trace, event)]
        if types(client, trace) and refused:
            return broken(f"{client.name} types, and was refused {summarise([event.message for event in refused])}")
    flooders = [client.name for client in trace.clients if is_flooder(client) and trace.of("said", who=client.name)]
    if not flooders:
        return untested("no client floods the room")
    heard_anything = False
    for client in trace.clients:
        for flooder in flooders:
            if client.prompt and client.name != flooder:
                heard = trace.of("heard", who=client.name)
                heard_anything = heard_anything or bool(heard)
                most = most_within([event.time for event in heard if speaker(event.message) == flooder], WINDOW)
                if most > FLOOD * WINDOW:
                    return broken(f"{flooder} made {client.name} hear {most} messages within {WINDOW:.0f} s")
    return KEPT if heard_anything else untested("no client but the flooder heard anything")


@guarantee("history")
def kept(trace: Trace) -> Verdict:
    """What anybody has heard, whoever comes later finds in the history, also after a kill or a power cut.

    That is what came with a number, `seq`, or as the acknowledgement of one's own words. Whoever asks for the last
    messages (`?last=50`) finds all from the first one that comes. Older ones may have been forgotten, the newest never.
    """
    if not history.is_numbered(trace):
        return untested(NO_NUMBERS)
    healthy = [client for client in trace.clients if is_healthy(client)]
    found = history.searched(trace, healthy, PROMPT, end_of_run(trace))
    return first_wrong(found, "nobody came later, asked for the last messages and stayed for a second")


@guarantee("history")
def one_history(trace: Trace) -> Verdict:
    """A number is the same message for everybody, for ever, and numbers follow one another: 1, 2, 3, without a hole.

    That holds beyond a kill. Whoever says something again may hear it once more with its old number.
    """
    if not history.is_numbered(trace):
        return untested(NO_NUMBERS)
    ousted = {*trace.evicted(), *trace.disconnected()}
    healthy = [client for client in trace.clients if is_healthy(client) and client.name not in ousted]
    found = chain(history.numbers_given(trace), history.numbers_in_a_row(trace, healthy))
    return first_wrong(found, "only one message had a number")


@guarantee("history")
def said_once(trace: Trace) -> Verdict:
    """What its speaker says again, under the same `id`, is one message: it has one number, and nobody else hears it
    twice in one visit.

    A room that gives no numbers, and so keeps no history, cannot know that it was said before.
    """
    if not (history.passes_ids_on(trace) and history.is_numbered(trace)):
        return untested(NO_NUMBERS if history.passes_ids_on(trace) else NO_IDS)
    return first_wrong(history.heard_once(trace, trace.clients), "nobody heard anything that was said again")


@guarantee("history")
def answered(trace: Trace) -> Verdict:
    """Whoever names what they say, with an `id`, and stays or comes back, at last hears it under that name, or that it
    is refused: within a second after they have said it again."""
    if not history.passes_ids_on(trace):
        return untested(NO_IDS)
    prompt = [client for client in trace.clients if client.prompt]
    found = history.answers(trace, prompt, PROMPT, end_of_run(trace))
    return first_wrong(found, "nobody who names messages was connected at the end, and had been for a second")


@guarantee("history")
def no_gap(trace: Trace) -> Verdict:
    """Whoever says what they heard last, `?since=EPOCH:SEQ`, hears all that follows, or is told which numbers are gone
    before they hear a higher one; and if it is another history. What is told to be gone, nobody hears who comes later.
    """
    return judged_by_positions(trace, history.gaps(trace, resuming(trace)))


@guarantee("history")
def in_order(trace: Trace) -> Verdict:
    """Whoever says what they heard last hears nothing of others twice, and nothing older after something newer, in all
    their connections together."""
    return judged_by_positions(trace, history.steps_back(trace, resuming(trace)))


@guarantee("history")
def catch_up(trace: Trace) -> Verdict:
    """Whoever comes back has heard what the others had heard by then a second later, or as soon as they can read it."""
    return judged_by_positions(trace, history.levels(trace, resuming(trace), PROMPT, end_of_run(trace)))


@guarantee("history")
def return_(trace: Trace) -> Verdict:
    """Half a minute after a server that was stopped or killed is back, all healthy clients that had been in the room,
    and come back, are in it again. If there are other servers, half a minute after the kill."""
    come_back = [client for client in trace.clients if client.returns and is_healthy(client)]
    visits, tested = trace.visits(), False
    for kill, back in returns(trace):
        deadline = back + RETURNED
        if trace.killed_between(back, deadline) or deadline > end_of_run(trace):
            continue
        before, since = entered_between(trace, 0, kill.time), entered_between(trace, back, deadline)
        here = {client.name for client in come_back if not is_elsewhere(client, kill.time, deadline)}
        cut_off = [name for name in here & before if was_cut_off(visits[name], kill)]
        if missing := [name for name in cut_off if name not in since or is_missing(visits[name], deadline)]:
            what = "the server was back" if trace.servers == 1 else f"{kill.who} was killed"
            return broken(
                f"{what} at {back:.3f} s, and {RETURNED:.0f} s later {len(missing)} of the {len(cut_off)} who had been "
                f"in the room were not, such as {min(missing)}"
            )
        tested = tested or bool(cut_off)
    return KEPT if tested else untested("nobody who comes back was connected when a server was stopped or killed")


@guarantee("history")
def isolation_(trace: Trace) -> Verdict:
    """While a server is cut off from the log that it shares with others, nobody hears what is said there: it is not
    written down. Whoever says something is told within 3 s that it is refused (in the first 3 s, nobody can know yet
    whether it was written); what is refused nobody hears, later either; and nobody is disconnected."""
    return first_wrong(isolation.cut_off(trace, filter(is_healthy, trace.clients)), NO_CUT)


@guarantee("presence")
def noticed(trace: Trace) -> Verdict:
    """Whose line goes dark for good is out of the pool within a minute, however much waits for them.

    A room that pings nobody cannot know, and is not tested.
    """
    end, entered, out = end_of_run(trace), trace.first("entered"), trace.noticed()
    dead = [client for client in trace.clients if client.dies_silently and client.dark + NOTICED <= end]
    dead = [client for client in dead if entered.get(client.name, NEVER) < client.dark]
    dead = [client for client in dead if not trace.killed_between(client.dark, client.dark + NOTICED)]
    stay = [client for client in dead if out.get(client.name, NEVER) > client.dark + NOTICED]
    if not dead or (stay and not +trace.pings):
        return untested("nobody's line went dark for good" if +trace.pings else NO_PINGS)
    for client in stay:
        return broken(
            f"{client.name}'s line went dark at {client.dark:.3f} s, and a minute later they were still in the pool"
        )
    return KEPT


@guarantee("presence")
def no_false_alarm(trace: Trace) -> Verdict:
    """Nobody who reads slowly is taken for dead and cut off.

    That is, nobody who reads a message every 6 s and 250 characters a second, or more. It is tested where no more than
    60,000 characters are said: a room need not keep more for whoever reads slowly. One that pings nobody, and cuts
    nobody off, is not tested.
    """
    entered, evicted, lost = trace.first("entered"), trace.evicted(), trace.disconnected()
    said = [len(client.text(number + 1)) for client in trace.clients for number in range(len(client.send_times))]
    longest = min(LONGEST_PAUSE, sum(said) / len(said) / SLOWEST) if said else 0
    slow = [client.name for client in trace.clients if 0 < client.pause <= longest and client.dark == NEVER]
    slow = [name for name in slow if name in entered]
    if not slow or sum(said) > LITTLE:
        return untested("nobody read slowly what could be kept for them" if +trace.pings else NO_PINGS)
    for name in slow:
        when = min(evicted.get(name, NEVER), lost.get(name, NEVER))
        if when < NEVER:
            heard = sum(event.time <= when for event in trace.of("heard", who=name))
            return broken(f"{name}, who was reading, and had heard {heard} messages, was cut off at {when:.3f} s")
    return KEPT if +trace.pings else untested(NO_PINGS)


def resuming(trace: Trace) -> list[Client]:
    return [client for client in trace.clients if client.resumes and reads_at_all(client)]


def judged_by_positions(trace: Trace, found: Iterator[str]) -> Verdict:
    if not history.tells_positions(trace):
        return untested(NO_POSITIONS)
    return first_wrong(found, "nobody who said what they heard last was there long enough")


def first_wrong(found: Iterable[str], why_untested: str) -> Verdict:
    """The verdict on what was found: a line for all that was tested, with what is wrong with it, or ""."""
    lines = list(found)
    if not lines:
        return untested(why_untested)
    return broken(evidence) if (evidence := next(filter(None, lines), "")) else KEPT


# ---------------------------------------------------------------- kinds of clients


def reads_at_all(client: Client) -> bool:
    return client.pause < NEVER and not client.dies_silently


def is_flooder(client: Client) -> bool:
    return most_within(client.send_times, WINDOW) > FLOOD * WINDOW


def is_human_paced(client: Client) -> bool:
    """Does it send, and no faster than people type?"""
    moments = client.send_times
    return bool(moments) and closest(moments) >= HUMAN


def types(client: Client, trace: Trace) -> bool:
    """Did it send at human pace? One that was away then says at once what it could not say."""
    moments = [event.time for event in trace.of("said", "said again", who=client.name)]
    return is_human_paced(client) and not (client.returns and closest(moments) < HUMAN)


def closest(moments: list[float]) -> float:
    """The shortest time between two of them."""
    return min((later - earlier for earlier, later in zip(moments, moments[1:])), default=NEVER)


def is_healthy(client: Client) -> bool:
    dark_for_long = client.dark < NEVER and client.light - client.dark > LONG_DARK
    return client.prompt and not is_flooder(client) and not dark_for_long


def was_well(name: str, when: float, trace: Trace) -> bool:
    """Was this client in the room by then, and not deaf while others heard, and did it stay?"""
    if departure_time(name, trace) < NEVER or trace.disconnected().get(name, NEVER) < when:
        return False
    entered, evicted = trace.first("entered").get(name, NEVER), trace.evicted().get(name, NEVER)
    if not entered < when <= evicted:
        return False
    spoken = {e.message: e.time for e in trace.to_pass_on() if entered < e.time < when and e.who != name}
    if not spoken:
        return True
    since = min(spoken.values())
    got = [event for event in trace.of("heard", "garbled", "altered", who=name) if since <= event.time < when]
    if any(event.message in spoken for event in got):
        return True
    others_heard = (
        e for e in trace.of("heard") if e.time < when and e.who != speaker(e.message) and e.message in spoken
    )
    in_other_words = (event for event in got if speaker(event.message) != name)
    return not (any(others_heard) or any(in_other_words))  # the room stood still for everybody


def late_readers(trace: Trace) -> list[str]:
    return [client.name for client in trace.clients if not client.prompt or client.dies_silently]


# ---------------------------------------------------------------- what happened


def entered_between(trace: Trace, since: float, until: float) -> set[str]:
    return {event.who for event in trace.of("entered") if since <= event.time <= until}


def is_elsewhere(client: Client, since: float, until: float) -> bool:
    """Is it out of reach for a part of that time, or has it left by its end?"""
    goes = min(client.leaves, client.vanishes)
    return goes <= until or any(start < until and since < end for start, end in client.away)


def returns(trace: Trace) -> Iterator[tuple[Event, float]]:
    """Each time that a server was killed, and since when people could come back: since it was started again, or since
    then, if there are others."""
    for kill in trace.of("killed"):
        starts = [event.time for event in trace.of("started", who=kill.who) if event.time >= kill.time]
        if trace.servers > 1 or starts:
            yield kill, kill.time if trace.servers > 1 else starts[0]


def was_cut_off(visits: list[Visit], kill: Event) -> bool:
    theirs = (visit for visit in visits if visit.server == kill.who)
    return any(visit.how == "lost" and visit.joined < kill.time <= visit.ended for visit in theirs)


def is_missing(visits: list[Visit], when: float) -> bool:
    """Did the last connection before that time end, and not by the client's own doing?"""
    last = [visit for visit in visits if visit.joined < when][-1]
    return last.how == "lost" and last.ended <= when


def shut_out(trace: Trace, people: list[str]) -> list[Event]:
    """Who of these people could not connect, while the server was running."""
    starts = [event.time for event in trace.of("started")]
    downs = [(kill.time, min((s for s in starts if s >= kill.time), default=NEVER)) for kill in trace.of("killed")]
    events = [event for event in trace.of("shut out") if event.who in people]
    return [event for event in events if not any(since <= event.time <= until + GRACE for since, until in downs)]


def said_once_for_all(trace: Trace) -> list[Event]:
    """What must be passed on, and was not said again: of that, nobody can say when it should be heard."""
    said, again = trace.of("said"), trace.messages("said again")
    return [said[place] for place in trace.due() if place not in again]


def times_heard(trace: Trace, name: str) -> dict[Event, float]:
    """When `name` first heard each message: the events with which it was said."""
    said, heard = trace.of("said"), reversed(trace.about("heard", name))
    return {said[place]: event.time for event, place in heard if place is not None}


def how_late(said: Event, heard: dict[Event, float]) -> str:
    """ "heard Ann 3 after 2.100 s", if that was too late; "" if it was not. `heard` has the times of one listener."""
    if said not in heard:
        return f"never heard {said.message}, said at {said.time:.3f} s"
    delay = heard[said] - said.time
    return f"heard {said.message} after {delay:.3f} s" if delay > PROMPT else ""


class Delay(NamedTuple):
    """How late somebody heard something that was said while others did not read."""

    listener: str
    said: Event
    meanwhile: list[str]  # who did not read
    late: str  # "heard Ann 3 after 2.100 s"; "" if it was in time

    def blaming_readers(self, trace: Trace) -> str:
        return self.told(trace, f"while {' and '.join(self.meanwhile)} did not read")

    def told(self, trace: Trace, when: str) -> str:
        return f"{self.listener} {self.late}, {when}{while_blocked(trace, self.said.time)}"


def delays(trace: Trace, readers: list[str]) -> Iterator[Delay]:
    """How late healthy clients heard what was said by others while some of `readers` were connected."""
    gone, joined, end = trace.departed(), trace.first("joined"), end_of_run(trace)
    dark = {client.name: client.dark for client in trace.clients if client.prompt and client.dies_silently}
    spans = [(name, dark.get(name, joined[name]), gone.get(name, end)) for name in readers if name in joined]
    entered, evicted, said = trace.first("entered"), trace.evicted(), said_once_for_all(trace)
    visits, reaches = trace.visits(), trace.reach()
    for name in [client.name for client in trace.clients if is_healthy(client)]:
        if name not in entered:
            continue
        until = evicted.get(name, end)
        reach = [(since, min(visit.ended, until) - PROMPT) for visit, (since, _) in zip(visits[name], reaches[name])]
        heard = times_heard(trace, name)
        for event in [e for e in said if e.who != name and any(since < e.time < until for since, until in reach)]:
            if meanwhile := [who for who, *of in spans if of[0] < event.time < of[1]]:
                yield Delay(name, event, meanwhile, how_late(event, heard))


def blame(trace: Trace, control: Trace) -> Verdict:
    """The verdict on a run that breaks no_head_of_line_blocking, knowing the same run with everybody reading at once.

    Nobody is blamed if at least half of what is late is so there, too.
    """
    readers = late_readers(trace)
    late_in_control = {(delay.listener, delay.said.message) for delay in delays(control, readers) if delay.late}
    found: dict[bool, list[Delay]] = {True: [], False: []}  # is it late there, too?
    for delay in delays(trace, readers):
        if delay.late:
            found[(delay.listener, delay.said.message) in late_in_control].append(delay)
    if len(found[True]) >= len(found[False]):
        return broken(found[True][0].told(trace, "also when everybody reads"))
    return broken(found[False][0].blaming_readers(trace))


def while_blocked(trace: Trace, since: float) -> str:
    """ "; the room blocked the event loop for 2 s in Room.handle, line 12", if it did soon after that time."""
    events = [event for event in trace.of("blocked") if since < event.time < since + 10]
    return f"; the room blocked the event loop for {events[0].message}" if events else ""


def deaf(trace: Trace) -> dict[str, list[str]]:
    """Who is in the room and hears nothing of the others -> their last messages that somebody else heard meanwhile, if
    there are enough."""
    said, due = trace.of("said"), trace.due()
    heard_by: dict[int, set[str]] = {}  # message -> who heard it
    for who in dict.fromkeys(event.who for event in trace.of("heard")):
        for _, place in trace.about("heard", who):
            if place is not None:
                heard_by.setdefault(place, set()).add(who)
    found = {}
    for name, reach in trace.reach(PROMPT).items():
        theirs = (
            place
            for place in reversed(due)
            if said[place].who != name and any(since < said[place].time < until for since, until in reach)
        )
        others_heard = (place for place in theirs if heard_by.get(place, set()) - {name})
        last = list(islice(others_heard, DEAF_AFTER))[::-1]
        if len(last) == DEAF_AFTER and not any(name in heard_by[place] for place in last):
            found[name] = [said[place].message for place in last]
    return found


def end_of_run(trace: Trace) -> float:
    """The time until which something could still happen: for ever, if the run became quiescent."""
    return NEVER if trace.ending == "quiescent" else trace.duration


def departure_time(name: str, trace: Trace) -> float:
    """When `name` left of its own accord; NEVER if it did not."""
    return max((event.time for event in trace.of("left", "vanished", who=name)), default=NEVER)


def first_visit_end(name: str, trace: Trace) -> float:
    """When the first connection of `name` ended by its own doing, or with the server; NEVER if it did not."""
    visits = trace.visits()[name]
    return visits[0].ended if visits and (visits[0].how != "lost" or trace.killed_during(visits[0])) else NEVER


def due_time(client: Client, trace: Trace, number: int) -> float:
    """When a client was due to say its message of that number, counted from 0."""
    return trace.first("joined").get(client.name, NEVER) + client.send_times[number]


def somebody_is_due(name: str, since: float, until: float, trace: Trace) -> bool:
    """Is anybody but `name` who has not gone due to speak between these times, and a second before the latter?"""
    gone = trace.gone()
    return any(
        since <= (due := due_time(client, trace, number)) <= until - PROMPT and due < gone.get(client.name, NEVER)
        for client in trace.clients
        for number in range(len(client.send_times))
        if client.name != name
    )


def most_within(times: list[float], window: float) -> int:
    """The largest number of these times, in ascending order, that fall within `window` seconds."""
    most = start = 0
    for end, time in enumerate(times):
        while time - times[start] >= window:
            start += 1
        most = max(most, end - start + 1)
    return most


def such_as(lines: list[str]) -> str:
    """Where most of these tasks are suspended: ", such as v3.py:75: await ..." """
    (line, _), *_ = Counter(lines).most_common(1)
    return f", such as {line}"


def summarise(messages: list[str]) -> str:
    """ "Ann 3", or "Ann 3 and 17 more"."""
    more = f" and {len(messages) - 1} more" if len(messages) > 1 else ""
    return f"{messages[0]}{more}"


def describe_error(error: BaseException) -> str:
    """An exception in one line; of a group, the first one in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", describe(error))  # neither addresses, which differ from run to run,
    return re.sub(r"(?<![\w.])/(?:[^/\s'\"]+/)+", "", text)  # nor the folders of this machine
