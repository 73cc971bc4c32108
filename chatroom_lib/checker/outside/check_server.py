"""Put any server through everything that can be seen from outside, in whatever language it is written:

    card = check_server("ws://127.0.0.1:8081/chatroom")
    card = check_server("ws://127.0.0.1:8081/ws", wire="text", command="go run ./server")

People connect, talk, freeze, flood and die, in real time, for a minute and a half a round. It is a load on the server:
try those only that are yours.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from random import Random

from chatroom_lib.checker.guarantees import GUARANTEES, KEPT, Verdict, blame, broken
from chatroom_lib.checker.outcome import Outcome, not_judged
from chatroom_lib.checker.outside.guarantees import LATE_OURSELVES, growth, judge, owed, we_were_late, without_losses
from chatroom_lib.checker.outside.probe import Probe
from chatroom_lib.checker.outside.scenarios import OF_A_PROCESS, OUTSIDE_SCENARIOS, Load, Maker
from chatroom_lib.checker.package import Conditions
from chatroom_lib.checker.scorecard import RoundScore, Scorecard
from chatroom_lib.clients.address import Address, is_private
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.runs.outside import OutsideRun, OutsideTrace
from chatroom_lib.runs.program import TIME_TO_END, Program, RunningProgram, answers
from chatroom_lib.runtime.background import run
from chatroom_lib.runtime.descriptors import allow_many_connections
from chatroom_lib.runtime.measurement_lock import measured_window
from chatroom_lib.runtime.progress import progress_bar
from chatroom_lib.server.server import ServerError

LONGEST_ROUND = 130.0  # seconds after which nothing more is begun in a round
LONGEST_RUN = 25.0  # seconds
LONGEST_SETTLING = 10.0  # seconds in which a server must pass things on again after a run
BLOCKING, MEMORY = "no-head-of-line-blocking", "bounded-memory"


def check_server(
    url: str,
    rounds: int = 1,
    *,
    wire: str = "json",
    fields: Mapping[str, str] | None = None,
    event: str = "message",
    hello: str | None = None,
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    command: str | None = None,
    pid: int | None = None,
    people: int | None = None,
    scenarios: Mapping[str, Maker] | None = None,
    anywhere: bool = False,
    progress: bool = True,
) -> Scorecard:
    """Try the server at `url` in each scenario, `rounds` times, and judge what can be seen from outside.

    `wire`: "json", a JSON object with the fields "token" (who speaks) and "content"; "text", what is said alone; or
    "socketio", a Socket.IO `event`. `fields`: other names of the two, {"name": "user", "text": "msg"}, and perhaps more
    fields with a fixed text. Whoever connects first sends the frame `hello`, and has `query` in the URL and `headers`,
    (name, value), in the handshake; `{name}` in these is who it is.
    `command`: what a shell takes to start the server, which is then started anew for each scenario, and ended. `pid`:
    of its process, if it runs already. With one of the two its memory, its descriptors and its end are seen, too.
    `people`: how many talk, at most. `scenarios`: those of outside/scenarios.py, unless given: {name: function}, which
    makes a Scenario of a random.Random and a Load. `anywhere`: also a server that is neither on this machine nor in a
    private network. `progress`: show how far it is.
    Raises ServerError if it cannot be reached, or does not pass on what people say, and ValueError for an address or
    an option that cannot be.
    """
    if not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be 1 or more, not {rounds!r}")
    if command is not None and pid is not None:
        raise ValueError("a command starts the server, and pid is of one that runs: give one of them")
    address = Address(wire, fields, event, hello, url=url, query=query, headers=tuple(map(tuple, headers)))
    ip = address.look_up()
    if not (is_private(ip) or anywhere):
        raise ValueError(f"{address.host} is not on this machine, nor in a private network, and this is a load on it")
    allow_many_connections()
    program = Program(command, ip, address.port) if command is not None else RunningProgram(pid) if pid else None
    checking = ServerCheck(address, ip, program, rounds, people, scenarios)
    with measured_window(), progress_bar(url if progress else None, checking.total) as show:
        outcomes = run_to_its_end(checking.run(show))
    return Scorecard.from_outcomes(
        url, checking.makers, GUARANTEES, rounds, outcomes, Conditions(), RoundScore,
        notes=checking.notes, runs=checking.kept,
    )  # fmt: skip


def run_to_its_end(coroutine: Coroutine):
    """Run it here, if nothing runs on this thread, so that an interrupt waits for its end; else in the background."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    return run(coroutine)


class ServerCheck:
    """All runs on one server. `people`: how many talk, at most."""

    def __init__(
        self,
        address: Address,
        ip: str,
        program: Program | RunningProgram | None,
        rounds: int,
        people: int | None = None,
        scenarios: Mapping[str, Maker] | None = None,
    ):
        self.address, self.ip, self.program, self.rounds, self.people = address, ip, program, rounds, people
        self.makers = scenarios or (OUTSIDE_SCENARIOS if program is None else {**OF_A_PROCESS, **OUTSIDE_SCENARIOS})
        self.total = rounds * len(self.makers)
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.kept: dict[tuple[str, int], OutsideTrace] = {}  # the first runs that broke something in a scenario
        self.seen: set[tuple[str, str]] = set()  # (guarantee, scenario) of these
        self.notes: list[tuple[str, str]] = []
        self.probe = Probe(address, ip)
        self.compared: set[str] = set()  # the guarantees of which a run that broke them was compared with another
        self.stopped = ""  # why nothing more is tried

    @property
    def starts_it(self) -> bool:
        return isinstance(self.program, Program)

    async def run(self, show: Callable[[float], None]) -> dict[tuple[str, int], Outcome]:
        """(scenario, round) -> Outcome."""
        self.begin_round()
        try:
            await self.start_anew()
            self.load = await self.probe.load(self.people)
            self.notes.append(("load", describe_load(self.load)))
            for number in range(self.rounds):
                for name in self.makers:
                    show(len(self.outcomes))
                    self.outcomes[name, number] = (await self.outcome(name, number)).on(GUARANTEES)
                self.begin_round()
        finally:
            if self.starts_it:
                await self.program.kill()
        return self.outcomes

    def begin_round(self) -> None:
        self.latest = asyncio.get_running_loop().time() + LONGEST_ROUND

    @property
    def in_time(self) -> bool:
        return asyncio.get_running_loop().time() < self.latest

    async def outcome(self, name: str, number: int) -> Outcome:
        """Of one scenario in one round."""
        if self.stopped:
            return not_judged(self.stopped)
        if not self.in_time:
            why = f"the round had taken {LONGEST_ROUND:.0f} s by then"
            self.notes.append((name, f"not tried in round {number + 1}: {why}"))
            return Outcome({}, why=why)
        if name in OF_A_PROCESS and (why := self.load.too_little):
            return Outcome({}, why=why)
        scenario = self.makers[name](Random(number), self.load)
        try:
            trace = await self.play(scenario)
            if trace.lag > LATE_OURSELVES and not trace.ended and self.in_time:
                trace = await self.play(scenario)  # the machine was busy: once more
            verdicts = judge(trace)
            verdicts |= await self.compared_with_all_reading(scenario, trace, verdicts)
        except TimeoutError:
            return not_judged("the run took too long")
        except ServerError as error:
            self.stopped = str(error)
            return Outcome({"no-crash": broken(str(error))}, failed=True, why=self.stopped)
        verdicts |= await self.after(name, trace)
        late = we_were_late(trace)
        if unclear := [each for each, verdict in verdicts.items() if verdict == late]:
            self.notes.append((name, f"{', '.join(unclear)} not judged in round {number + 1}: {late.evidence}"))
        wrong = {(guarantee, name) for guarantee, verdict in verdicts.items() if verdict.kept is False}
        if wrong - self.seen:
            self.kept[name, number] = trace
        self.seen |= wrong
        return Outcome(verdicts)

    async def play(self, scenario: Scenario) -> OutsideTrace:
        """On a server that is started anew, if we start it."""
        await self.start_anew()
        async with asyncio.timeout(LONGEST_RUN):
            return await OutsideRun(self.address, self.ip, scenario, self.program, self.load.slow).play()

    async def start_anew(self) -> None:
        if self.starts_it:
            await self.program.kill()
            await self.program.start()

    async def compared_with_all_reading(
        self, scenario: Scenario, trace: OutsideTrace, verdicts: dict[str, Verdict]
    ) -> dict[str, Verdict]:
        """What the same run with everybody reading at once changes: it may not be those who did not read. For the first
        run that breaks something of that kind, as in `check`."""
        wrong = [name for name in (BLOCKING, MEMORY) if verdicts[name].kept is False and name not in self.compared]
        if not (wrong and self.in_time and (self.starts_it or await self.probe.passes_on(LONGEST_SETTLING))):
            return {}
        self.compared.update(wrong)
        people = [replace(client, pause=0) for client in scenario.clients]
        control = await self.play(replace(scenario, clients=people))
        changed = {}
        if BLOCKING in wrong:
            changed[BLOCKING] = blame(without_losses(owed(trace)), without_losses(owed(control)))
        if MEMORY in wrong and growth(control)[1] > growth(trace)[1] / 2:
            changed[MEMORY] = KEPT
        return changed

    async def after(self, name: str, trace: OutsideTrace) -> dict[str, Verdict]:
        """How the server is when all have left: it ends when it is told to, or goes on as before."""
        if trace.ended:
            self.stopped = "" if self.starts_it else f"the server has ended after {name!r}"
            return {}
        if self.starts_it:
            if await self.program.stop():
                return {}
            return {"no-crash": broken(f"told to end (SIGTERM), it still ran {TIME_TO_END:.0f} s later")}
        if await self.probe.passes_on(LONGEST_SETTLING):
            return {}
        if await answers(self.ip, self.address.port):
            self.stopped = f"after {name!r} it passed nothing on any more, for {LONGEST_SETTLING:.0f} s"
            return {}
        self.stopped = f"the server has ended after {name!r}"
        return {"no-crash": broken(f"after {name!r} nothing listens at {self.address.host}:{self.address.port}")}


def describe_load(load: Load) -> str:
    return (
        f"{load.people} people talk, {load.a_second:.0f} messages a second in all, of {load.size} characters at most"
        + " (each of them slowly: the server limits how much one may say)" * load.limited
        + " (it takes seconds for what one person says in one)" * load.slow
    )
