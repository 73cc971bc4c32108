"""What people heard of a room's history, by its numbers and by the ids of messages: evidence for the guarantees.

Each yields a line for all that was tested: what is wrong with it, or "".
"""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chatroom_lib.checker import isolation
from chatroom_lib.clients.scenario import Client
from chatroom_lib.message import MessageError, PageRequest, decode_request, last_wanted
from chatroom_lib.trace import DISK_LOST, Event, Trace, Visit, numbers_gone, opened_for, speaker

ON_THE_WAY = 0.05  # seconds after a kill, or a gap was told, in which somebody may still hear what was sent before
MANY = 10_000  # numbers; a room may say that more are gone, but no run has as many


def asks_for_history(client: Client) -> bool:
    try:
        return last_wanted(client.path) > 0
    except MessageError:
        return False


def asks_for_a_page(client: Client) -> bool:
    try:
        return isinstance(decode_request(client.first or ""), PageRequest)
    except MessageError:
        return False


def is_numbered(trace: Trace) -> bool:
    return any(event.seq is not None for event in trace.of("heard"))


def passes_ids_on(trace: Trace) -> bool:
    given = {event.id for event in trace.of("said")} - {None}
    return any(event.id in given for event in trace.of("heard"))


def tells_positions(trace: Trace) -> bool:
    return bool(trace.of("welcomed"))


def epochs(trace: Trace) -> Callable[[float], str]:
    """Which history the numbers of a time are of: as the room has told since it was started last, or had before. One
    that tells nobody has a new one whenever it loses its files."""
    starts, names = [0.0, *(event.time for event in trace.of("started"))], [""]
    lost = disks_lost(trace)
    welcomes = trace.of("welcomed")
    for start, end in zip(starts, [*starts[1:], trace.duration]):
        told = [event.message for event in welcomes if start <= event.time <= end]
        names.append(told[0] if told else names[-1] if welcomes else f"{bisect(lost, start)}")
    return lambda time: names[bisect(starts, time)]


def disks_lost(trace: Trace) -> list[float]:
    """When the room's files were lost."""
    return [event.time for event in trace.of("killed") if event.message == DISK_LOST]


def heard_by_visit(trace: Trace, name: str) -> list[tuple[Visit, list[tuple[Event, int | None]]]]:
    """What a client heard in each of its visits, and which messages that is."""
    visits = trace.visits()[name] or [Visit(0.0)]
    found: list[tuple[Visit, list]] = [(visit, []) for visit in visits]
    number = 0
    for event, place in trace.about("heard", name):
        while number + 1 < len(visits) and visits[number + 1].joined <= event.time:
            number += 1
        found[number][1].append((event, place))
    return found


def said_again_by(trace: Trace, name: str) -> set[int]:
    return {place for _, place in trace.about("said again", name) if place is not None}


# ---------------------------------------------------------------- kept


def searched(trace: Trace, people: Iterable[Client], patience: float, end: float) -> Iterator[str]:
    """For each visit of somebody who asks for the history, and stays for `patience` seconds: what they did not find in
    it, and others had heard before."""
    numbered, told = first_with_number(trace), told_without_number(trace)
    disks = disks_lost(trace)
    for client in filter(asks_for_history, people):
        again = said_again_by(trace, client.name)
        for visit, heard in heard_by_visit(trace, client.name):
            since = max((time + ON_THE_WAY for time in disks if time < visit.joined), default=0.0)
            before = [event for event in numbered if since <= event.time < visit.joined]
            if not before or min(visit.ended, end) < visit.joined + patience:
                continue
            newest = max(event.seq for event in before)
            own = [event.seq for event, place in heard if place not in again]
            start = next((seq for seq in own if seq is not None and seq <= newest), None)
            found = {(event.seq, event.message) for event, _ in heard}, {event.id for event, _ in heard} - {None}
            lost = [event for event in before if not is_among(event, *found)]
            if start is None:  # what is older may have been forgotten, but never the newest
                lost = [event for event in lost if event.seq == newest]
            else:
                lost = [event for event in lost if event.seq > start]
            if start in (None, 1):
                lost += [event for event in told if since <= event.time < visit.joined and not is_among(event, *found)]
            yield not_found(lost[0], client.name, visit, trace) if lost else ""


def first_with_number(trace: Trace) -> list[Event]:
    """For each message and each number under which it was heard: when somebody first did."""
    heard = (event for event in trace.of("heard") if event.seq is not None)
    return list({(event.seq, event.message, event.id): event for event in reversed([*heard])}.values())[::-1]


def told_without_number(trace: Trace) -> list[Event]:
    """Whose speaker was told that the room has it, and that nobody heard with a number, in a room that gives some."""
    numbered = {event.id for event in trace.of("heard") if event.seq is not None}
    if not numbered - {None}:
        return []
    return [event for event in trace.of("acknowledged") if event.seq is None and event.id not in numbered]


def is_among(event: Event, numbers: set[tuple], ids: set[str]) -> bool:
    return (event.seq, event.message) in numbers or event.id in ids


def not_found(event: Event, name: str, visit: Visit, trace: Trace) -> str:
    what = f"{event.who} heard {event.message}{as_number(event)} at {event.time:.3f} s"
    killed = trouble_between(event.time, visit.joined, trace)
    return f"{what}{killed}, and {name}, who asked for the history at {visit.joined:.3f} s, did not find it"


# ---------------------------------------------------------------- one history


def numbers_given(trace: Trace) -> Iterator[str]:
    """For each number: which two messages it was given to."""
    first: dict[tuple[str, int], Event] = {}
    epoch = epochs(trace)
    for event in (event for event in trace.of("heard") if event.seq is not None):
        known = first.setdefault((epoch(event.time), event.seq), event)
        if known.message != event.message or (known.id and event.id and known.id != event.id):
            other = f"another {event.message}" if known.message == event.message else event.message
            killed = trouble_between(known.time, event.time, trace)
            yield (
                f"number {event.seq} was {known.message} to {known.who} at {known.time:.3f} s{killed}, and {other} to "
                f"{event.who} at {event.time:.3f} s"
            )
        if event.seq < 1:
            yield f"{event.who} heard {event.message}{as_number(event)} at {event.time:.3f} s; numbers begin with 1"
    yield from [""] * (len(first) > 1)


def numbers_in_a_row(trace: Trace, people: Iterable[Client]) -> Iterator[str]:
    """For each visit of these people: where the numbers do not follow one another.

    A message of one's own may come once more, with the number that it had: that is an acknowledgement. Of those who
    resume, `no-gap` and `in-order` tell.
    """
    for client in (client for client in people if not client.resumes):
        again = said_again_by(trace, client.name)
        for _, heard in heard_by_visit(trace, client.name) if not asks_for_a_page(client) else ():
            before: Event | None = None
            wrong = ""
            for event, place in ((event, place) for event, place in heard if event.seq is not None):
                follows = before is not None and event.seq == before.seq + 1
                old = before is not None and event.seq <= before.seq and speaker(event.message) == client.name
                may_be_old = old or place in again
                if before and not (follows or may_be_old):
                    wrong = wrong or (
                        f"{client.name} heard {event.message}{as_number(event)} at {event.time:.3f} s, right after "
                        f"{before.message}{as_number(before)}"
                    )
                if follows or not may_be_old:
                    before = event
            yield wrong


# ---------------------------------------------------------------- said once


def heard_once(trace: Trace, people: Iterable[Client]) -> Iterator[str]:
    """For each message that was said again and that anybody heard, and for each client: how it was heard twice."""
    again = {event.id: event for event in reversed(trace.of("said again"))}
    first: dict[str, Event] = {}
    epoch = epochs(trace)
    for event in trace.of("heard"):
        if event.id in again and event.seq is not None:
            known = first.setdefault(event.id, event)
            if known.seq != event.seq and epoch(known.time) != epoch(event.time):
                first[event.id] = event  # the ids are lost with the history
            elif known.seq != event.seq:
                yield (
                    f"{event.message}, said again at {again[event.id].time:.3f} s, was number {known.seq} to "
                    f"{known.who} at {known.time:.3f} s, and number {event.seq} to {event.who} at {event.time:.3f} s"
                )
    for client in people:
        for _, heard in heard_by_visit(trace, client.name) if not asks_for_a_page(client) else ():
            times: dict[str, Event] = {}
            for event in (event for event, _ in heard if event.id in again and again[event.id].who != client.name):
                known = times.setdefault(event.id, event)
                if known is not event:
                    yield (
                        f"{client.name} heard {event.message} at {known.time:.3f} s, and again at {event.time:.3f} s, "
                        f"because it was said again at {again[event.id].time:.3f} s"
                    )
    yield from ("" for event in trace.of("heard") if event.id in again)


# ---------------------------------------------------------------- answered


def answers(trace: Trace, people: Iterable[Client], patience: float, end: float) -> Iterator[str]:
    """For each message with an id whose speaker is connected at the end: that it was not answered, if it was not within
    `patience` seconds since it was last said."""
    visits = trace.visits()
    for name in (client.name for client in people if visits[client.name] and not visits[client.name][-1].how):
        said = {event.id: event for event in trace.of("said", "said again", who=name) if event.id}
        answered = {event.id for event in trace.of("acknowledged", who=name)}
        refused = {place for _, place in trace.about("refused", name)}
        for event, place in trace.about("said", name):
            last = said.get(event.id)
            if last and max(last.time, visits[name][-1].joined) + patience <= end:
                missing = event.id not in answered and place not in refused
                when = f" and again at {last.time:.3f} s" if last.time > event.time else ""
                wrong = f"{name} said {event.message} at {event.time:.3f} s{when}, and was never told what became of it"
                yield wrong if missing else ""


# ---------------------------------------------------------------- resume


class Place(NamedTuple):
    """How far somebody has heard: up to which number of which history."""

    epoch: str
    seq: int


class Step(NamedTuple):
    """A frame with a number that somebody was sent who resumes."""

    event: Event  # "welcomed", "told a gap" or "heard"
    before: Place | None  # how far they had heard by then; None: they have not been told where they are

    @property
    def after(self) -> Place | None:
        if self.event.kind == "welcomed":
            return Place(self.event.message, self.event.seq)
        if self.event.kind == "heard" and self.before and self.event.seq > self.before.seq:
            return self.before._replace(seq=self.event.seq)
        return self.before

    @property
    def gap(self) -> range:
        """The numbers that they were told to be gone."""
        return numbers_gone(self.event)[:MANY] if self.event.kind == "told a gap" else range(0)


def steps(trace: Trace, name: str) -> list[Step]:
    found: list[Step] = []
    for event in trace.of("welcomed", "told a gap", "heard", who=name):
        if event.seq is not None:
            found.append(Step(event, found[-1].after if found else None))
    return found


def gaps(trace: Trace, people: Iterable[Client]) -> Iterator[str]:
    """For each of these people who was told where they are: the first number that they have neither heard nor, before
    they heard a higher one, been told to be gone."""
    for client in people:
        walk = steps(trace, client.name)
        if any(step.before for step in walk):
            yield first_gap(walk, client.name) or told_wrongly(trace, client.name) or begun_anew(trace, client.name)


def first_gap(walk: list[Step], name: str) -> str:
    known = set[int]()  # of this history: heard, or told to be gone
    for number, step in enumerate(walk):
        event, before = step
        if event.kind == "heard":
            known.add(event.seq)
        elif event.kind == "told a gap":
            known.update(step.gap)
        elif before and event.message != before.epoch:
            known.clear()
            if not is_told_a_gap(walk[number + 1 : number + 2]):
                return f"{name} was not told at {event.time:.3f} s that this is another history"
        if before and (after := step.after).epoch == before.epoch:
            between = range(before.seq + 1, after.seq + (event.kind == "welcomed"))[:MANY]
            if missing := [seq for seq in between if seq not in known]:
                soon = heard_later(walk[number:]).union(*(step.gap for step in walk[number + 1 : number + 2]))
                if wrong := missing_to(name, [seq for seq in missing if seq not in soon], event):
                    return wrong
    return ""


def begun_anew(trace: Trace, name: str) -> str:
    """That `name` was told of another history, though no server has begun one: it would have been started again."""
    starts = [event.time for event in trace.of("killed", "started")]
    told = trace.of("welcomed", who=name)
    for before, event in zip(told, told[1:]):
        if event.message != before.message and not any(time <= event.time for time in starts):
            return (
                f"{name} was told at {event.time:.3f} s that this is another history, and no server was started again"
            )
    return ""


def told_wrongly(trace: Trace, name: str) -> str:
    """That somebody has heard a number of the history after `name` was told that nobody can give it any more."""
    epoch, visits = epochs(trace), trace.visits()
    for told in trace.of("told a gap", who=name):
        gone = all_gone(told)
        for event in (event for event in trace.of("heard") if event.seq in gone):
            came = event.time if event.who == name else opened_for(visits[event.who], event.time)
            on_the_way = 0 if event.who == name else ON_THE_WAY
            if told.time + on_the_way < came and epoch(event.time) == epoch(told.time):
                whom = "they" if event.who == name else f"{event.who}, who came at {came:.3f} s,"
                what = f"{name} was told at {told.time:.3f} s that {told.message} are gone"
                return f"{what}, and {whom} heard {event.seq}"
    return ""


def all_gone(told: Event) -> range:
    """The numbers of this history that somebody was told to be gone; from 1 on, if they had heard another one."""
    of_another = told.message.startswith("to ")
    return range(1, int(told.message[3:]) + 1) if of_another else numbers_gone(told)


def is_told_a_gap(following: list[Step]) -> bool:
    return bool(following) and following[0].event.kind == "told a gap"


def heard_later(walk: list[Step]) -> set[int]:
    """What is heard on the same connection: before the room tells again where that is."""
    later = set()
    for event, _ in walk[1:]:
        if event.kind == "welcomed":
            break
        if event.kind == "heard":
            later.add(event.seq)
    return later


def missing_to(name: str, missing: list[int], event: Event) -> str:
    if not missing:
        return ""
    numbers = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
    what = f"heard number {event.seq}" if event.kind == "heard" else f"was told to be at number {event.seq}"
    return f"{name} {what} at {event.time:.3f} s, had not heard {numbers}, and was not told that it is gone"


def steps_back(trace: Trace, people: Iterable[Client]) -> Iterator[str]:
    """For each of these people who was told where they are: the first step that leads back.

    A message of one's own may come once more: that is an acknowledgement.
    """
    for client in people:
        walk = [step for step in steps(trace, client.name) if step.before]
        back = (step for step in walk if leads_back(step, client.name))
        if walk:
            yield next((stepped_back(step, client.name) for step in back), "")


def leads_back(step: Step, name: str) -> bool:
    event, before = step
    if event.kind == "welcomed":
        return event.message == before.epoch and event.seq < before.seq
    return event.kind == "heard" and event.seq <= before.seq and speaker(event.message) != name


def stepped_back(step: Step, name: str) -> str:
    event, before = step
    what = f"heard {event.message}{as_number(event)}" if event.kind == "heard" else f"was set back to {event.seq}"
    return f"{name} {what} at {event.time:.3f} s, after number {before.seq}"


def levels(trace: Trace, people: Iterable[Client], patience: float, end: float) -> Iterator[str]:
    """For each return of these people: that they have not caught up with what others had heard by then, within
    `patience` and the time in which they can read it."""
    epoch, heard = epochs(trace), [event for event in trace.of("heard") if event.seq is not None]
    for client in people:
        walk = steps(trace, client.name)
        for visit in trace.visits()[client.name]:
            now = epoch(visit.joined)
            theirs = [event.seq for event in heard if event.time < visit.joined and epoch(event.time) == now]
            front, start = max(theirs, default=0), place_at(walk, visit.joined)
            missed = front - (start.seq if start and start.epoch == now else 0)
            latest = visit.joined + patience + missed * client.pause
            if front and latest <= min(visit.ended, end) and not isolation.is_at_one(trace, visit, latest):
                place = place_at(walk, latest)
                level = place and (place.epoch != now or place.seq >= front)
                yield "" if level else not_level(client.name, visit, front, place, latest)


def place_at(walk: list[Step], time: float) -> Place | None:
    """How far they had heard by that time."""
    return next((step.after for step in reversed(walk) if step.event.time <= time), None)


def not_level(name: str, visit: Visit, front: int, place: Place | None, latest: float) -> str:
    where = f"only up to {place.seq}" if place else "nothing of the history"
    came = f"{name} came at {visit.joined:.3f} s, when others had heard up to number {front}"
    return f"{came}, and by {latest:.3f} s had heard {where}"


def told_to_be_gone(trace: Trace, name: str) -> set[str]:
    """The messages whose numbers `name` was told to be gone."""
    gone = {seq for step in steps(trace, name) for seq in step.gap}
    return {event.message for event in trace.of("heard") if event.seq in gone} if gone else set()


# ---------------------------------------------------------------- in words


def as_number(event: Event) -> str:
    return "" if event.seq is None else f" (number {event.seq})"


def trouble_between(since: float, until: float, trace: Trace) -> str:
    kills = [event.time for event in trace.of("killed") if since - ON_THE_WAY < event.time < until]
    return f", the server was killed at {kills[0]:.3f} s" if kills else ""
