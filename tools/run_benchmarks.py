"""`make bench`: measure everything, and write benchmarks/results.json and benchmarks/README.md.

After each round all that has been measured so far is in benchmarks/unfinished.json, in the same form; an interrupt or
an error leaves it there. results.json stays as it was until all rounds are complete.
"""

import json
import os
import sys
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


UNFINISHED = "unfinished.json"


def main() -> None:
    try:
        bench.bench(on_round=write)
    except KeyboardInterrupt:
        print(f"cut short: what was measured so far is in benchmarks/{UNFINISHED}", file=sys.stderr)
        sys.exit(130)


def write(report: bench.Report) -> None:
    results = json.dumps(report.as_dict(), indent=1) + "\n"
    if report.cut_short:
        replace(UNFINISHED, results)
    else:
        replace("results.json", results)
        replace("README.md", INTRODUCTION + report.markdown())
        (RESULTS / UNFINISHED).unlink(missing_ok=True)


def replace(name: str, text: str) -> None:
    """Write a file of the results all at once, so that no half of it is left by whatever happens meanwhile."""
    new = RESULTS / f"{name}.new"
    new.write_text(text, encoding="utf-8")
    os.replace(new, RESULTS / name)


if __name__ == "__main__":
    main()
