"""Which of the messages that were said an event is about. Two that look the same are two messages."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from chatroom_lib.trace.records import Event


class Sayings:
    """The events `said`, in order of time. A message is its place among them."""

    def __init__(self, said: list[Event]):
        self.said = said
        self.named = {(event.message, event.id): place for place, event in enumerate(said) if event.id is not None}
        self.alike = defaultdict(list)  # what a Trace calls a message -> the places of those that it calls so
        for place, event in enumerate(said):
            self.alike[event.message].append(place)

    def match(self, events: Iterable[Event], refused: Iterable[int] = ()) -> Iterator[int | None]:
        """For each event of one client, in order of time, the message that it is about; None: nobody has said it.

        The `id` tells, or who spoke and the first word. If that leaves several, it is the latest that had been said by
        then, was not refused, and that no event before was about.
        """
        matched = set(refused)
        for event in events:
            place = self.named.get((event.message, event.id))
            if place is None and (places := self.alike.get(event.message)):
                place = places[0] if len(places) == 1 else self.latest(places, event.time, matched)
            matched.add(place)
            yield place

    def latest(self, places: list[int], time: float, matched: set[int | None]) -> int:
        by_then = [place for place in places if self.said[place].time <= time] or places[:1]
        return next((place for place in reversed(by_then) if place not in matched), by_then[-1])
