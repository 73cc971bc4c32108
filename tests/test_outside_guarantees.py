"""What is judged of a server from outside: runs made by hand, with the verdict that each should get."""

from dataclasses import replace

import pytest

from chatroom_lib import Client, Event, Scenario, flooder, frozen, listener, slow_reader, talker, vanishing
from chatroom_lib.checker.guarantees import GUARANTEES
from chatroom_lib.checker.outside.guarantees import MUCH, NO_PROCESS, growth, judge
from chatroom_lib.runs.outside import OutsideTrace, all_is_heard, last_word, note_entries
from chatroom_lib.runs.program import Usage

ANN, BOB, CY = talker("Ann", 10, every=0.5), listener("Bob"), listener("Cy")
FROZEN = frozen("Fay", vanishes=4.0)
EVERYBODY = [ANN, BOB, CY]


def run(*clients: Client, joins: dict | None = None, without=(), more=(), late=None, duration=10.0, **known):
    """Each of Ann's messages is heard by all who read 10 ms later. `without`: (who, number) that is not; `late`: (who,
    number) -> seconds; `more`: other events; `joins`: when somebody joined, else at 0."""
    joins, late = joins or {}, late or {}
    events = [Event(joins.get(client.name, 0.0), "joined", client.name) for client in clients]
    reading = [client.name for client in clients if client.pause == 0]
    for number, time in enumerate(ANN.send_times, 1):
        events.append(Event(time, "said", "Ann", f"Ann {number}"))
        for who in reading:
            delay = late.get((who, number), 0.01)
            if (who, number) not in without and joins.get(who, 0.0) < time:
                events.append(Event(time + delay, "heard", who, f"Ann {number}"))
    trace = OutsideTrace("ws://127.0.0.1:1/", tuple(clients), events=[*events, *more], duration=duration, **known)
    trace.ending = "time is up"
    trace.events.sort(key=lambda event: event.time)
    note_entries(trace)
    return trace


def broken(trace) -> dict[str, str]:
    return {name: verdict.evidence for name, verdict in judge(trace).items() if verdict.kept is False}


def untested(trace) -> dict[str, str]:
    return {name: verdict.evidence for name, verdict in judge(trace).items() if verdict.kept is None}


def test_a_right_server_breaks_nothing_and_what_cannot_be_seen_is_not_tested():
    trace = run(*EVERYBODY)
    assert broken(trace) == {}
    assert set(judge(trace)) == set(GUARANTEES)
    assert untested(trace)["kept"] == "nobody can see that from outside"
    assert untested(trace)["noticed"] == "that takes minutes"
    assert untested(trace)["no-crash"] == untested(trace)["no-leak"] == NO_PROCESS


def test_a_lost_message_breaks_delivery_and_nothing_else():
    trace = run(*EVERYBODY, FROZEN, without=[("Cy", 5)], more=[Event(4.0, "vanished", "Fay")])
    assert broken(trace) == {"delivery": "Cy never heard Ann 5"}


def test_a_server_that_leaves_the_speaker_out_is_told_so_and_what_else_it_loses():
    own = [("Ann", number) for number in range(1, 11)]
    assert broken(run(*EVERYBODY, without=own)) == {
        "delivery": "nobody hears what they say themselves; to the others nothing is lost"
    }
    found = broken(run(*EVERYBODY, without=[*own, ("Cy", 5)]))["delivery"]
    assert found == "Cy never heard Ann 5; besides, nobody hears what they say themselves"


def test_the_last_word_may_be_lost_like_others():
    trace = run(*EVERYBODY, FROZEN, without=[("Cy", 10)], more=[Event(4.0, "vanished", "Fay")])
    assert broken(trace) == {"delivery": "Cy never heard Ann 10"}


def test_what_is_still_on_its_way_when_the_time_is_up_is_not_lost():
    trace = run(*EVERYBODY, without=[("Cy", 10)], unfinished=True)
    assert "delivery" in untested(trace)


def test_silence_while_somebody_does_not_read_is_blocking():
    silence = [(who, number) for who in ("Ann", "Bob", "Cy") for number in range(5, 11)]
    assert "no-head-of-line-blocking" in broken(run(*EVERYBODY, frozen("Fay"), without=silence))


def test_who_is_late_while_we_were_late_ourselves_is_not_blamed():
    late = {("Cy", number): 1.5 for number in range(5, 11)}
    assert "no-head-of-line-blocking" in broken(run(*EVERYBODY, frozen("Fay"), late=late))
    trace = run(*EVERYBODY, frozen("Fay"), late=late, lag=0.6)
    assert broken(trace) == {}
    assert untested(trace)["no-head-of-line-blocking"].startswith(
        "this machine was busy: our own clients were up to 0.6"
    )


def test_buffers_that_were_not_filled_prove_nothing():
    trace = run(*EVERYBODY, frozen("Fay"))
    assert "too little to fill the buffers" in untested(trace)["no-head-of-line-blocking"]
    long = replace(ANN, size=50_000)
    assert "no-head-of-line-blocking" not in untested(run(long, BOB, CY, frozen("Fay")))


def test_who_hears_nothing_while_others_hear_was_not_let_in():
    eve = Client("Eve", joins=2.0)
    missed = [("Eve", number) for number in range(1, 11)]
    found = broken(run(*EVERYBODY, eve, joins={"Eve": 2.0}, without=missed))
    assert found["admission"] == "Eve joined at 2.000 s, and was never let in: others heard Ann 7"
    assert "prompt-join" in found and "no-false-eviction" not in found


def test_a_room_that_stands_still_for_all_says_nothing_about_its_door():
    eve = Client("Eve", joins=2.0)
    silence = [(who, number) for who in ("Ann", "Bob", "Cy", "Eve") for number in range(4, 11)]
    verdict = judge(run(*EVERYBODY, eve, joins={"Eve": 2.0}, without=silence))["admission"]
    assert verdict.kept is not False


def test_who_is_let_in_late_is_told_by_what_they_missed():
    eve = Client("Eve", joins=1.0)
    found = broken(run(*EVERYBODY, eve, joins={"Eve": 1.0}, without=[("Eve", number) for number in range(1, 8)]))
    assert found["admission"] == "Eve joined at 1.000 s, and was let in at 3.710 s: others heard Ann 5"


def test_who_is_heard_is_let_in_though_they_hear_nothing():
    eve = Client("Eve", joins=2.0, says=1)
    words = [Event(2.2, "said", "Eve", "Eve 1"), Event(2.21, "heard", "Cy", "Eve 1")]
    missed = [("Eve", number) for number in range(1, 11)]
    found = broken(run(*EVERYBODY, eve, joins={"Eve": 2.0}, without=missed, more=words))
    assert "admission" not in found and "prompt-join" in found


def test_if_all_hear_late_nobody_can_tell_who_was_let_in():
    eve = Client("Eve", joins=2.0)
    late = {(who, number): 3.0 for who in ("Ann", "Bob", "Cy", "Eve") for number in range(1, 11)}
    trace = run(*EVERYBODY, eve, joins={"Eve": 2.0}, late=late)
    assert "heard nothing at first, nor did others" in untested(trace)["admission"]


def test_who_cannot_connect_is_shut_out():
    more = [Event(3.0, "shut out", "Eve", "InvalidStatus: server rejected WebSocket connection: HTTP 503")]
    found = broken(run(*EVERYBODY, more=more).__class__("x", (*EVERYBODY, Client("Eve", joins=3.0)), events=more))
    assert "HTTP 503" in found["admission"]


def test_who_waits_long_for_the_handshake_is_let_in_late():
    eve = Client("Eve", joins=1.0)
    found = broken(run(*EVERYBODY, eve, joins={"Eve": 2.5}))
    assert found == {"admission": "Eve knocked at 1.000 s, and was connected at 2.500 s"}


def test_who_is_disconnected_is_named_with_the_reason():
    more = [Event(3.0, "lost", "Cy", "1006"), Event(2.0, "lost", "Bob", "1008 go away")]
    trace = run(*EVERYBODY, more=more, without=[(who, n) for who in ("Bob", "Cy") for n in range(4, 11)])
    assert broken(trace)["no-false-eviction"] == "Bob, a healthy client, was disconnected at 2.000 s (1008 go away)"


def test_who_goes_deaf_while_others_hear_is_evicted_unless_the_server_may_still_be_sending():
    deaf = [("Cy", number) for number in range(6, 11)]
    assert "went deaf" in broken(run(*EVERYBODY, without=deaf))["no-false-eviction"]
    assert "no-false-eviction" not in broken(run(*EVERYBODY, frozen("Fay"), without=deaf))
    dead = run(*EVERYBODY, frozen("Fay", vanishes=1.0), without=deaf, more=[Event(1.0, "vanished", "Fay")])
    assert "went deaf" in broken(dead)["no-false-eviction"]


def test_if_the_whole_room_stands_still_in_the_end_nobody_is_called_deaf():
    still = [(who, number) for who in ("Ann", "Bob", "Cy") for number in range(8, 11)]
    assert "no-false-eviction" not in broken(run(*EVERYBODY, without=[("Cy", 5), ("Cy", 6), ("Cy", 7), *still]))


def test_one_speakers_words_are_heard_in_their_order():
    found = broken(run(*EVERYBODY, late={(who, 3): 0.6 for who in ("Ann", "Bob", "Cy")}))
    assert found == {"total-order": "Bob heard Ann 4 before Ann 3, which was said earlier"}


def test_after_the_death_of_one_who_did_not_read_all_must_hear():
    silence = [(who, number) for who in ("Ann", "Bob", "Cy") for number in range(9, 11)]
    trace = run(*EVERYBODY, frozen("Fay", vanishes=3.0), without=silence, more=[Event(3.0, "vanished", "Fay")])
    assert broken(trace)["recovery"] == "Fay died at 3.000 s, and Bob never heard Ann 9 and 1 more"


# ---------------------------------------------------------------- the server's process


def test_a_server_that_ends_has_crashed_and_nobody_else_is_blamed():
    lost = [Event(3.0, "lost", client.name) for client in EVERYBODY]
    silence = [(who, number) for who in ("Ann", "Bob", "Cy") for number in range(7, 11)]
    known = dict(before=Usage(0, 1, 5), ended="it ended with exit code 2: panic: send on closed channel")
    trace = run(*EVERYBODY, more=lost, without=silence, **known)
    assert list(broken(trace)) == ["no-crash"]
    assert "panic: send on closed channel" in broken(trace)["no-crash"]


@pytest.mark.parametrize("left, wrong", [(0, False), (2, False), (3, True), (90, True)])
def test_descriptors_are_given_back(left, wrong):
    trace = run(*EVERYBODY, before=Usage(0, 1, 9), after=Usage(0, 1, 9 + left))
    assert ("no-leak" in broken(trace)) == wrong


def bulk(grows: float, reading: bool = False, says: int = 1000, **known) -> OutsideTrace:
    """Ann says 80 MB in 5 s, and the process grows by `grows` times that."""
    size = 80_000_000 // 1000
    ann = talker("Ann", 1000, every=0.005, size=size)
    said = [Event(time, "said", "Ann", f"Ann {number}") for number, time in enumerate(ann.send_times[:says], 1)]
    usages = [Usage(0.2 + n / 4, int(30e6 + grows * 80e6 * n / 20), 9) for n in range(21)]
    events = [Event(0.0, "joined", name) for name in ("Ann", "Fay")] + said
    clients = (ann, listener("Fay") if reading else frozen("Fay"))
    return OutsideTrace("ws://x/", clients, events=events, usages=usages, before=usages[0], duration=6.0, **known)


def test_a_process_that_keeps_what_nobody_reads_grows():
    assert broken(bulk(1.0))["bounded-memory"] == "53 MB were said to people who do not read, and it grew by 56 MB"
    assert judge(bulk(0.05))["bounded-memory"].kept is True
    assert growth(bulk(1.0))[0] >= 53_000_000


def test_while_our_own_clients_are_late_a_server_may_keep_what_they_have_not_read():
    assert untested(bulk(1.0, lag=0.5))["bounded-memory"].startswith("this machine was busy")


def test_a_server_that_stops_reading_grows_no_more():
    assert judge(bulk(0.0, says=50))["bounded-memory"].kept is True


def test_memory_is_judged_only_if_much_is_said_to_who_does_not_read():
    assert "bounded-memory" in untested(bulk(1.0, reading=True))
    assert "bounded-memory" in untested(run(*EVERYBODY, frozen("Fay"), before=Usage(0, 1, 9)))
    assert MUCH > 10_000_000


# ---------------------------------------------------------------- until when a run goes on


def test_a_run_goes_on_until_all_who_read_have_heard_all():
    assert all_is_heard(run(*EVERYBODY, frozen("Fay")))
    assert not all_is_heard(run(*EVERYBODY, without=[("Cy", 3)]))
    assert all_is_heard(run(*EVERYBODY, slow_reader("Sue", pause=1)))  # who never hurries
    assert not all_is_heard(run(*EVERYBODY, slow_reader("Sue", pause=1, hurries=5.0)))


def test_the_last_word_is_said_when_the_last_thing_happens():
    assert last_word(Scenario([ANN])) == pytest.approx(0.2 + 9 * 0.5)
    assert last_word(Scenario([ANN, vanishing("Bob", 7)])) == 7
    assert last_word(Scenario([flooder("Flo", 3, joins=2)])) == pytest.approx(2.2)
