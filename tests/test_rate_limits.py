"""The rate limiters alone, called with times of the test's own; and the people who type against them."""

import asyncio

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from chatroom_lib import Scenario, decode, flooder, plots, rate_limits, rooms, show, simulate, talker, typist

EACH = pytest.mark.parametrize(
    "limiter", [rate_limits.BelowZero, rate_limits.WholeSeconds, rate_limits.FixedInterval, rate_limits.TokenBucket]
)
REAL = [rate_limits.WholeSeconds, rate_limits.FixedInterval, rate_limits.TokenBucket]


def passes(limiter, times) -> list[float]:
    return [time for time in times if limiter.wait(time) == 0]


def flood(seconds: float, start: float = 0.0) -> list[float]:
    """A hundred messages a second."""
    return [start + number / 100 for number in range(round(seconds * 100))]


@EACH
def test_the_first_message_passes_whenever_it_comes(limiter):
    for time in (0.0, 0.7, 1e6):
        assert limiter().wait(time) == 0


def test_below_zero_refuses_nothing():
    assert len(passes(rate_limits.BelowZero(), flood(10))) == 1000


@pytest.mark.parametrize("limiter", REAL)
def test_the_others_hold_a_flood_to_one_message_a_second_in_the_long_run(limiter):
    assert 60 <= len(passes(limiter(), flood(60))) <= 66


@pytest.mark.parametrize("limiter", REAL)
def test_a_client_that_waits_as_long_as_told_passes(limiter):
    limiter = limiter()
    for time in (10.3, 10.4, 10.6, 10.6, 10.6, 10.7):
        wait = limiter.wait(time)
    assert wait > 0
    assert limiter.wait(10.7 + wait + 1e-9) == 0


def test_a_refused_message_costs_nothing():
    patient, pushy = rate_limits.FixedInterval(), rate_limits.FixedInterval()
    assert passes(patient, [0, 1.5]) == [0, 1.5]
    assert passes(pushy, [0, 0.5, 0.9, 1.5]) == [0, 1.5]
    bucket = rate_limits.TokenBucket(burst=1)
    assert passes(bucket, [0, 0.3, 0.6, 0.9, 1.01]) == [0, 1.01]


def test_whole_seconds_pass_two_messages_around_the_beginning_of_a_second():
    assert passes(rate_limits.WholeSeconds(), [0.9990, 1.0005, 1.9, 2.0]) == [0.9990, 1.0005, 2.0]


def test_a_fixed_interval_keeps_its_distance():
    times = passes(rate_limits.FixedInterval(limit=4), flood(5))
    assert all(later - earlier >= 0.25 - 1e-9 for earlier, later in zip(times, times[1:]))


def test_a_token_bucket_allows_a_burst_after_a_silence_and_no_more():
    bucket = rate_limits.TokenBucket(limit=2, burst=3)
    assert len(passes(bucket, flood(0.4))) == 3
    assert len(passes(bucket, flood(0.4, start=1000))) == 3  # a long silence fills the bucket, and not more than that
    assert len(passes(bucket, flood(10, start=1000.4))) == 20


@pytest.mark.parametrize("limiter", [rate_limits.FixedInterval, rate_limits.TokenBucket])
@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_an_impossible_limit_is_one_clear_line(limiter, limit):
    with pytest.raises(ValueError, match="a limit must be more than 0 messages a second"):
        limiter(limit)


# ---------------------------------------------------------------- people who type


def test_a_typist_needs_time_for_each_character_and_enter():
    ann = typist("Ann", "hi", "yes", speed=2)
    assert ann.send_times == [1.5, 3.5] and ann.prompt
    trace = simulate("v3.1", Scenario([ann], duration=10))
    joined = trace.of("joined")[0].time
    assert [event.time - joined for event in trace.of("said")] == pytest.approx([1.5, 3.5])
    assert trace.heard("Ann") == ["Ann 1", "Ann 2"]


def test_times_given_one_by_one_replace_a_steady_pace():
    assert talker("Ann", at=(3.0, 1.0)).send_times == [1.0, 3.0]
    assert talker("Ann", says=2, starts=1, every=0.5).send_times == [1, 1.5]
    with pytest.raises(ValueError, match="Ann: times"):
        talker("Ann", at=(1, -1))
    with pytest.raises(ValueError, match="Ann: the speed of typing"):
        typist("Ann", "hi", speed=0)


class Limited(rooms.resolve("v3.2")):
    def __init__(self, limiter):
        super().__init__()
        self.limiter = limiter

    async def read(self, client):
        limiter, clock = self.limiter(), asyncio.get_running_loop().time
        async for frame in client.connection:
            if wait := limiter.wait(clock()):
                self.refuse(client, decode(frame), wait)
            else:
                await self.incoming.put(decode(frame))
        await self.unregister.put(client)


def test_only_the_token_bucket_stops_a_flood_and_lets_people_type():
    flo, pat = flooder("Flo", says=100, every=0.1), typist("Pat", "hi", "ok", "are you there?", "yes", "no")

    def refused(limiter, who) -> int:
        return len(simulate(lambda: Limited(limiter), Scenario([who], duration=60)).of("refused"))

    assert refused(rate_limits.BelowZero, flo) == 0
    assert refused(rate_limits.FixedInterval, flo) > 80 and refused(rate_limits.FixedInterval, pat) > 0
    assert refused(rate_limits.TokenBucket, flo) > 80 and refused(rate_limits.TokenBucket, pat) == 0


def test_v3_2_does_as_the_fixed_interval_does():
    flo = Scenario([flooder("Flo", says=100, every=0.1)], duration=60)
    own, limited = simulate("v3.2", flo, seed=3), simulate(lambda: Limited(rate_limits.FixedInterval), flo, seed=3)
    assert own.heard("Flo") == limited.heard("Flo") and own.of("refused")


def test_passed_shows_a_dot_or_a_cross_for_each_message():
    flo = Scenario([flooder("Flo", says=30, every=0.1)], duration=60)
    ax = plots.passed({"ours": simulate("v3.2", flo), "none": simulate("v3.1", flo)}, "Flo")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ours", "none"]
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    counts = {(line.get_marker(), line.get_ydata()[0]): len(line.get_xdata()) for line in drawn}
    assert counts == {("x", 0): 27, ("o", 0): 3, ("o", -1): 30}
    plt.close("all")


def test_the_code_of_classes_can_be_shown_as_that_of_rooms():
    text = repr(show.source(rate_limits.BelowZero, rate_limits.TokenBucket))
    assert text.startswith("class BelowZero") and "class TokenBucket" in text and "class FixedInterval" not in text
