"""What came instead of a message that somebody never heard: a part of the evidence.

Only frames that explain the loss are mentioned: one that shows the lost message, and one that may be its refusal. What
else a room sends of its own accord, in whatever form, says nothing about it.
"""

import re

from chatroom_lib.trace import Event, Trace, speaker

SOON = 1.0  # seconds within which a room refuses
LOOKED_AT = 20  # lost messages, at most: one that is explained is enough
FORM = '{"token": ..., "content": ...}'
HELP = '(see "What it owes people" in docs/your_room.md)'


def what_came_instead(trace: Trace, name: str, lost: list[str]) -> str:
    """ "; it got '...', which is no ...", about the messages `lost` that `name` never heard; "" if nothing explains
    it."""
    lost = lost[:LOOKED_AT]
    return shown(trace, name, lost) or refused_in_other_words(trace, lost) or nothing_heard(trace, name)


def shown(trace: Trace, name: str, lost: list[str]) -> str:
    """It got a frame that shows one of the messages, but is no message, or has other words, or another token."""
    for event in trace.of("garbled", "altered", "heard", who=name):
        for message in lost:
            if shows(event, message, trace):
                return f"; it got {quoted(event)}, {wrong_with(event, speaker(message))}"
    return ""


def refused_in_other_words(trace: Trace, lost: list[str]) -> str:
    """Nobody heard one of the messages, and right after it the room told its speaker something, and nobody else."""
    heard = {event.message for event in trace.of("heard")}
    told = {who: told_alone(trace, who, heard) for who in set(map(speaker, lost))}
    said = {event.message: event.time for event in trace.of("said")}
    for message in lost:
        for event in told[speaker(message)] if message not in heard else ():
            if 0 <= event.time - said[message] <= SOON:
                return f"; {event.who} got {quoted(event)}, which does not say what it refuses {HELP}"
    return ""


def nothing_heard(trace: Trace, name: str) -> str:
    """It got frames, and none of them is a client's message."""
    if any(of_people(event, trace) for event in trace.of("heard", who=name)):
        return ""
    got = trace.of("garbled", "altered", who=name)
    return f"; it got {quoted(got[0])}, {wrong_with(got[0])}" if got else ""


# ---------------------------------------------------------------- what explains, and what does not


def shows(event: Event, message: str, trace: Trace) -> bool:
    """Has the frame the speaker of the message, and its number?"""
    who, _, number = message.partition(" ")
    if not number.isdecimal():
        return False
    if event.kind == "heard":  # with another token: it is known by its first word
        return not of_people(event, trace) and event.message.partition(" ")[2] in (number, f"{who}:")
    dots = r" [.…]" if event.kind == "garbled" and is_long(number, who, trace) else ""  # a mere number may be any
    return all(re.search(rf"(?<!\w){words}(?!\w)", event.message) for words in (re.escape(who), number + dots))


def is_long(number: str, who: str, trace: Trace) -> bool:
    """Does more than its number stand in a message?"""
    return any(client.name == who and client.size > len(number) + 1 for client in trace.clients)


def told_alone(trace: Trace, who: str, heard: set[str]) -> list[Event]:
    """What the room told a client in its own words, since that first spoke: what nobody else is told who never speaks,
    and no more of it than there are messages of the client's that nobody heard. (Else it answers to each message.)"""
    since = trace.first("said")
    told = [event for event in trace.of("garbled", "heard") if event.kind == "garbled" or not of_people(event, trace)]
    notices = {event.message for event in told if event.who not in since}
    told = [event for event in told if event.who == who and event.message not in notices]
    told = [event for event in told if event.time >= since[who]]
    unheard = [event for event in trace.of("said", who=who) if event.message not in heard]
    return told if len(told) <= len(unheard) else []


def of_people(event: Event, trace: Trace) -> bool:
    """Is the message that was heard one of a client's?"""
    return speaker(event.message) in trace.names


# ---------------------------------------------------------------- in words


def wrong_with(event: Event, who: str = "anybody") -> str:
    if event.kind == "garbled":
        return f"which is no {FORM}"
    return f"which is not what {who} said" if event.kind == "altered" else f"whose token is not {who}"


def quoted(event: Event) -> str:
    if event.kind == "heard":  # of which only the beginning is known
        return f"'{event.message} ...'"
    return event.message if event.message.startswith('b"') else f"'{event.message}'"
