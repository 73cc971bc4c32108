"""The benchmark: how much load a server carries, and how long its messages take.

suite.py        every target (targets.py) under every load (loads.py), round after round; report.py has the results
largest_room.py how many people fit before they wait too long
measurement.py  one measurement: server_process.py and load_generator.py, each in a process and on a core of its own
restart.py      what many clients do that lose their server in the same moment
profiler.py     where a server's time goes, by the parts of breakdown.py
servers/        servers of other projects
"""

from typing import TYPE_CHECKING

from chatroom_lib.runtime.lazy import lazy_names

if TYPE_CHECKING:  # for editors and type checkers: the same names
    from chatroom_lib.bench.largest_room import Capacity as Capacity, capacity as capacity
    from chatroom_lib.bench.load_generator import PAYLOAD as PAYLOAD, Measurement as Measurement
    from chatroom_lib.bench.loads import (
        CURVES as CURVES,
        LOADS as LOADS,
        ON_CURVES as ON_CURVES,
        QUICK as QUICK,
        Load as Load,
    )
    from chatroom_lib.bench.measurement import BenchError as BenchError, measure as measure
    from chatroom_lib.bench.profiler import profile as profile
    from chatroom_lib.bench.report import Failure as Failure, Report as Report
    from chatroom_lib.bench.restart import Storm as Storm, storm as storm
    from chatroom_lib.bench.several_servers import ScaleOut as ScaleOut, scale_out as scale_out
    from chatroom_lib.bench.suite import bench as bench
    from chatroom_lib.bench.targets import BASELINE as BASELINE, TARGETS as TARGETS

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "largest_room": ("Capacity", "capacity"),
        "load_generator": ("PAYLOAD", "Measurement"),
        "loads": ("CURVES", "LOADS", "ON_CURVES", "QUICK", "Load"),
        "measurement": ("BenchError", "measure"),
        "profiler": ("profile",),
        "report": ("Failure", "Report"),
        "restart": ("Storm", "storm"),
        "several_servers": ("ScaleOut", "scale_out"),
        "suite": ("bench",),
        "targets": ("BASELINE", "TARGETS"),
    },
)
