"""The loads that the benchmark puts a server under."""

from dataclasses import dataclass

from chatroom_lib.bench.targets import BASELINE


@dataclass(frozen=True)
class Load:
    """A closed load (`in_flight`), an open one (`rate`), or idle connections (neither)."""

    clients: int  # connections
    in_flight: int = 0  # messages
    rate: float = 0.0  # messages a second

    def __str__(self):
        if self.rate:
            return f"{self.clients:,} clients, {self.rate:g} messages a second"
        if self.in_flight:
            return f"{self.clients:,} clients, {self.in_flight:,} in flight"
        return f"{self.clients:,} idle connections"


LOADS = (Load(200, 8), Load(200, 64), Load(2000, 16), Load(10, 1), Load(200, rate=100), Load(1000))
IN_FLIGHT, CLIENTS = 16, 200  # each is constant in one curve, in which the other grows
CURVES = {
    "clients": tuple(Load(clients, IN_FLIGHT) for clients in (10, 100, 1000, 4000)),
    "in flight": tuple(Load(CLIENTS, in_flight) for in_flight in (1, 8, 64, 256)),
}
ON_CURVES = (BASELINE, "v3.1", "v4", "uWebSockets")
QUICK = dict(
    targets=(BASELINE, "v1", "v3.1", "v4", "FastAPI", "aiohttp"),
    loads=(Load(200, 8), Load(500)),
    curves=False,
    warm_up=0.2,
    seconds=0.5,
)
