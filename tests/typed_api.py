"""Read by mypy (`make lint`), never run: what an editor and a type checker see of the public names."""

from typing import assert_type

from matplotlib.axes import Axes

from chatroom_lib import (
    Event,
    Message,
    Scenario,
    Scorecard,
    Server,
    Trace,
    asgi,
    bench,
    check,
    check_server,
    compare,
    dashboard,
    decode,
    encode,
    frozen,
    guarantees,
    listener,
    live,
    plots,
    rate_limits,
    rooms,
    run,
    scenarios,
    serve,
    show,
    simulate,
    stop_all,
    talker,
)

people = [talker("Ann", says=60, every=0.03), frozen("Bob", vanishes=1), listener("Cy"), listener("Di")]
scenario = Scenario(people, duration=2.5)
trace = simulate("v1.1", scenario, seed=1)
assert_type(trace, Trace)
assert_type(trace.of("heard", who="Cy"), list[Event])
assert_type(trace.undelivered(), dict[str, list[str]])
assert_type(trace.digest(), str)
assert_type(plots.pool(trace), Axes)
assert_type(plots.heard(trace, ax=plots.pool(trace)), Axes)
assert_type(decode(encode(Message("Ann", "hello"))), Message)

card = check("v1.1", seeds=3, progress=False)
assert_type(card, Scorecard)
assert_type(card.replay("delivery"), Trace)
compare(card, card)
assert_type(check_server("ws://127.0.0.1:8081/chatroom", 3, wire="text", command="./server"), Scorecard)
assert_type(guarantees.judge(trace), dict[str, guarantees.Verdict])
simulate("v1", scenarios.SCENARIOS["churn"], seed=2)
simulate(lambda: rooms.resolve("v3")(outbox_size=8), scenario)
assert_type(rate_limits.TokenBucket(limit=2).wait(0.5), float)
show.diff("v1", "v1.1")
assert_type(simulate(asgi("main:app", path="/ws"), scenario, seed=1), Trace)

assert_type(bench.measure("v4", clients=200, in_flight=8), bench.Measurement)
assert_type(bench.profile("v4", clients=200, in_flight=8), dict[str, float])


async def cell() -> None:
    assert_type(await live("v1.1", scenario), Trace)
    server = await serve("v1.1", port=0)
    assert_type(server, Server)
    async with dashboard(server):
        pass
    await stop_all()


run(cell())
