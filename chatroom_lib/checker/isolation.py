"""What people hear of a server that is cut off from the log which it shares with others: evidence for `isolation`."""

from collections.abc import Iterable, Iterator

from chatroom_lib.clients.scenario import Client
from chatroom_lib.trace import Event, Trace, Visit

ON_THE_WAY = 0.05  # seconds that something said, or written, may be on its way
TOLD = 3.0  # seconds within which a server must notice that it is cut off, and then say so


def cut_off(trace: Trace, people: Iterable[Client]) -> Iterator[str]:
    """For each of these people and each time that the server where they were was cut off: what is wrong, or ""."""
    visits = trace.visits()
    for client in people:
        for visit in visits[client.name]:
            for since, until in trace.cut_off(visit.server):
                if visit.joined < since < visit.ended:
                    yield from wrong_with(trace, client.name, visit, since, until)


def wrong_with(trace: Trace, name: str, visit: Visit, since: float, until: float) -> Iterator[str]:
    where = f"{visit.server} was cut off from the log at {since:.3f} s"
    if visit.how == "lost" and visit.ended < until and not trace.killed_during(visit):
        yield f"{where}, and {name} was disconnected at {visit.ended:.3f} s"
    refused = {place: event.time for event, place in trace.about("refused", name)}
    for said, place in trace.about("said", name):
        if not since + ON_THE_WAY < said.time < min(until, visit.ended):
            continue
        heard = heard_of(trace, place)
        if heard and heard[0].time < until:
            yield f"{where}, and {heard[0].who} heard {said.message}, which was said there, at {heard[0].time:.3f} s"
        elif heard and place in refused:
            when = f"at {refused[place]:.3f} s, and {heard[0].who} heard it at {heard[0].time:.3f} s"
            yield f"{where}; {name} was told that {said.message} is refused {when}"
        elif since + TOLD < said.time < min(until, visit.ended) - TOLD:
            late = refused.get(place, trace.duration) > said.time + TOLD
            told = f"{name}, who said {said.message} at {said.time:.3f} s, was not told so within {TOLD:.0f} s"
            yield f"{where}, and {told}" if late else ""


def heard_of(trace: Trace, place: int) -> list[Event]:
    """Each time that somebody heard this message."""
    heard = [event for name in trace.names for event, which in trace.about("heard", name) if which == place]
    return sorted(heard, key=lambda event: event.time)


def is_cut_off(trace: Trace, event: Event) -> bool:
    """Was the server where that client was cut off then?"""
    visits = [visit for visit in trace.visits()[event.who] if visit.joined <= event.time]
    return any(
        since <= event.time <= until + TOLD for since, until in trace.cut_off(visits[-1].server if visits else "")
    )


def is_at_one(trace: Trace, visit: Visit, until: float) -> bool:
    """Was this visit, up to that time, at a server that was cut off meanwhile?"""
    return any(since <= until and visit.joined <= end for since, end in trace.cut_off(visit.server))
