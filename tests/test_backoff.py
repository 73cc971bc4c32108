"""How long a client waits before it comes back."""

from random import Random
from types import SimpleNamespace

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from chatroom_lib.clients.backoff import Backoff, retry_after
from chatroom_lib.message import (
    LONGEST_SPREAD,
    Position,
    come_back_within,
    decode_position,
    encode_position,
    told_to_come_back,
)


def backoff() -> Backoff:
    return Backoff(0.5, 4, Random(1))


def waits(client: Backoff, draws: int = 300) -> tuple[float, float]:
    """The shortest and the longest of many."""
    times = [client.next_wait() for _ in range(draws)]
    return min(times), max(times)


def lost(reason: str = "") -> SimpleNamespace:
    return SimpleNamespace(close_reason=reason)


def refused(*told: str) -> InvalidStatus:
    return InvalidStatus(Response(503, "", Headers([("Retry-After", each) for each in told])))


def about(limit: float):
    return pytest.approx(limit, rel=0.1)


def test_each_failure_doubles_the_longest_wait_up_to_a_bound_and_it_begins_at_nothing():
    client, longest = backoff(), []
    for _ in range(6):
        shortest, most = waits(client)
        longest.append(most)
        assert shortest < 0.1 * most
        client.note_failure(OSError())
    assert longest == [about(limit) for limit in (0.5, 1, 2, 4, 4, 4)]
    client.note_loss(lost())
    assert waits(client)[1] == about(0.5)


def test_after_a_loss_it_takes_as_long_as_the_room_has_told_once():
    client = backoff()
    client.note_loss(lost(come_back_within(20)))
    shortest, most = waits(client)
    assert 1 <= shortest < 1.5 and most == about(20)  # in the first second no server is there again
    client.note_failure(OSError())
    assert waits(client)[1] == about(1)


def test_what_the_room_has_told_beforehand_counts_if_it_is_lost_without_a_word_and_not_if_we_cut_the_line():
    client = backoff()
    client.note_position(Position("e", 3, return_within=10))
    client.note_position(Position("e", 4))
    client.note_loss(lost())
    assert waits(client)[1] == about(10)
    client.note_loss(lost(come_back_within(1.2)))
    assert waits(client) == (about(0.6), about(1.2))
    client.note_cut()
    assert waits(client)[1] == about(0.5)


def test_who_is_turned_away_waits_as_long_as_they_are_told_and_a_random_moment():
    client = backoff()
    client.note_failure(refused("7"))
    shortest, most = waits(client)
    assert 7 <= shortest < 7.1 and most == about(7.5)
    client.note_failure(OSError())
    assert waits(client)[1] == about(2)


@pytest.mark.parametrize("told", [[], ["soon"], ["-1"], ["0"], ["1.5"], ["Fri, 27 Nov 2026 17:00:00 GMT"], ["9" * 400]])
def test_what_is_no_number_of_seconds_is_not_waited_for(told):
    assert retry_after(refused(*told)) is None


def test_nobody_waits_for_ever_because_a_room_says_so():
    assert retry_after(refused("999999")) == LONGEST_SPREAD == told_to_come_back("come back within 99999 s")
    assert retry_after(refused("3", "4")) == 3
    for value in ('"soon"', "-1", "0", "true", "null", "1e999", "[]"):
        frame = '{"token":"chatroom","content":"","epoch":"e","since":1,"return_within":' + value + "}"
        assert decode_position(frame).return_within in (None, LONGEST_SPREAD)


def test_a_position_with_it_comes_back_as_it_was():
    position = Position("e", 3, return_within=4)
    assert decode_position(encode_position(position)) == position
    assert "return_within" not in encode_position(Position("e", 3))


@pytest.mark.parametrize("reason", ["", "come back", "come back within s", "come back within -1 s", "back within 4 s"])
def test_other_reasons_tell_nothing(reason):
    assert told_to_come_back(reason) is None


def test_who_goes_elsewhere_may_be_there_at_once():
    client = Backoff(0.5, 4, Random(1), elsewhere=True)
    client.note_loss(lost(come_back_within(20)))
    shortest, most = waits(client)
    assert shortest < 0.3 and most == about(20)
    client.note_position(Position("e", 3, return_within=2))
    client.note_loss(lost())
    shortest, most = waits(client)
    assert shortest < 0.1 and most == about(2)
    client.note_failure(refused("7"))  # that server, or the next one: it has told us so
    assert waits(client)[0] >= 7
    client.note_failure(OSError())
    assert waits(client)[1] == about(2)
