"""`make bench`: measure everything, and write benchmarks/results.json and benchmarks/README.md."""

import json
from pathlib import Path

from chatroom_lib import bench

RESULTS = Path(__file__).parent.parent / "benchmarks"
INTRODUCTION = f"""# The benchmark

What `make bench` measured, written by [run_benchmarks.py](../tools/run_benchmarks.py); [results.json](results.json)
contains every round. Chapter 05 explains how to read it, and `chatroom bench --quick` measures part of it on your
machine.

The server runs in a process of its own, on a core of its own; the load comes from another process on another core.
"In flight" is a closed load: so many messages are in flight, and a client that hears its own sends the next one.
"Messages a second" is an open load: messages are due whatever the server does, and latency counts from the time at
which they were due. A message has {bench.PAYLOAD} bytes. The rooms of this project decode, check and encode each
message; the other servers pass it on unchanged.
"""


def main() -> None:
    report = bench.bench()
    (RESULTS / "results.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    (RESULTS / "README.md").write_text(INTRODUCTION + report.markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
