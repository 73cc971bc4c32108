"""The benchmark: how much a server carries, and how long people wait for it.

    benchmark.py   every entrant under every load, round after round, and the report
    entrants.py    who takes part; servers/, what others would use instead
    measurement.py one measurement: a server's process (host.py) and the load's (generator.py), a core each
    profiling.py   where a server's time goes
"""

from chatroom_lib.bench.benchmark import CURVES, LOADS, ON_CURVES, QUICK, Load, Report, bench
from chatroom_lib.bench.entrants import ENTRANTS, YARDSTICK
from chatroom_lib.bench.generator import PAYLOAD
from chatroom_lib.bench.measurement import BenchError, Measurement, measure
from chatroom_lib.bench.profiling import profile

__all__ = [
    "BenchError",
    "CURVES",
    "ENTRANTS",
    "LOADS",
    "Load",
    "Measurement",
    "ON_CURVES",
    "PAYLOAD",
    "QUICK",
    "Report",
    "YARDSTICK",
    "bench",
    "measure",
    "profile",
]
