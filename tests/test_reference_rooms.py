"""The small room, BoundedBroadcast: what it adds to `broadcast()` of the library is there on real sockets, too."""

from functools import partial

from chatroom_lib import Scenario, flooder, frozen, listener, talker
from chatroom_lib.reference_rooms import BoundedBroadcast
from tests.helpers import in_both_worlds

SMALL = partial(BoundedBroadcast, buffer_size=20_000)
FLUENT = partial(SMALL, limit=None)


@in_both_worlds
def test_whoever_lets_more_wait_than_the_bound_is_evicted_and_the_others_hear_everything(play):
    people = [talker("Ann", says=60, starts=0.05, every=0.005, size=4000), frozen("Bob"), listener("Cy")]
    trace = play(FLUENT, Scenario(people, duration=2))
    assert [*trace.evicted()] == ["Bob"] and trace.in_pool() == ["Ann", "Cy"] and not trace.errors
    assert len(trace.heard("Cy")) == len(trace.heard("Ann")) == 60


@in_both_worlds
def test_whoever_speaks_too_fast_is_told_what_is_refused_and_the_rest_is_passed_on(play):
    trace = play(SMALL, Scenario([flooder("Flo", says=40), listener("Cy")], duration=1.5))
    refused = {event.message for event in trace.of("refused", who="Flo")}
    assert 5 <= len(trace.heard("Cy")) <= 7 and refused == {event.message for event in trace.of("said")} - {
        *trace.heard("Cy")
    }
