"""`make bench`: measure everything, and write results.json and README.md beside this file."""

import json
from pathlib import Path

from chatroom_lib import bench

HERE = Path(__file__).parent
INTRODUCTION = f"""# The benchmark

What `make bench` measured, written by [run_benchmarks.py](../tools/run_benchmarks.py); [results.json](results.json) holds every round. Chapter 05
says how to read it, and `chatroom bench --quick` measures a part of it on your machine.

A server runs in a process of its own, on a core of its own; the load comes from another process on another core.
"In flight" is a closed loop: so many messages are under way, and whoever hears its own says the next one. "Messages a
second" is an open one: messages are due whatever the server does, and latency counts from the moment they were due.
A message has {bench.PAYLOAD} bytes. The rooms of this project decode, check and encode each; the others pass it on
as it is.
"""


def main() -> None:
    report = bench.bench()
    (HERE / "results.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(INTRODUCTION + report.markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
