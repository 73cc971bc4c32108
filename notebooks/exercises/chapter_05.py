"""Checks for chapter 05, in virtual time."""

from chatroom_lib import Scenario, flooder, listener, simulate, talker
from exercises import NotYet, exercise


@exercise
def check_the_writer_batches(room: type) -> None:
    crowd = [*(flooder(f"Flo{number}", says=50, every=0) for number in range(8)), listener("Cy")]
    for seed in range(3):
        trace = simulate(room, Scenario(crowd, duration=20), seed)
        heard = trace.heard("Cy")
        if trace.errors or trace.stuck:
            raise NotYet(f"the room fails: {trace}")
        if len(heard) < 400 or any(trace.heard(name) != heard for name in trace.names):
            raise NotYet(f"Cy heard {len(heard)} of 400 messages, or not everybody heard the same")
        if trace.writes["Cy"] > 300:
            raise NotYet(f"400 messages to Cy took {trace.writes['Cy']} writes; at most 300 are allowed")


@exercise
def check_long_messages_are_refused(room: type) -> None:
    people = [talker("Ann", says=3, size=2000), talker("Bob", says=3, size=1000), listener("Cy")]
    trace = simulate(room, Scenario(people, duration=10))
    if trace.errors or trace.stuck:
        raise NotYet(f"the room fails: {trace}")
    if long := [message for message in trace.heard("Cy") if message.startswith("Ann")]:
        raise NotYet(f"Cy heard {len(long)} messages of 2,000 characters")
    if len(trace.heard("Cy")) < 3:
        raise NotYet(f"Cy heard {len(trace.heard('Cy'))} of Bob's 3 messages of 1,000 characters")
    if len(trace.of("refused", who="Ann")) < 3:
        raise NotYet(f"Ann was told about {len(trace.of('refused', who='Ann'))} of 3 refusals")
    if trace.evicted() or trace.gone():
        raise NotYet("somebody lost the connection")
