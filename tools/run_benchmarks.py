"""`make bench`: measure everything, and write benchmarks/results.json and benchmarks/README.md.

After each round all that has been measured so far is in benchmarks/unfinished.json, in the same form; an interrupt or
an error leaves it there. results.json stays as it was until all rounds are complete.

`python tools/run_benchmarks.py capacity`: how many people fit, into benchmarks/capacity.json (half an hour).
"""

import json
import os
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path

from chatroom_lib import bench
from chatroom_lib.bench.suite import machine

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
ROUNDS = 3  # of the search for the largest room


def main(arguments: list[str]) -> None:
    try:
        if arguments == ["capacity"]:
            replace("capacity.json", json.dumps(capacities(), indent=1) + "\n")
        else:
            bench.bench(on_round=write)
    except KeyboardInterrupt:
        print(f"cut short: what was measured so far is in benchmarks/{UNFINISHED}", file=sys.stderr)
        sys.exit(130)


def capacities() -> dict:
    """The largest room of each target that is on the curves, searched for in turns, with all that was tried."""
    names = [name for name in bench.ON_CURVES if is_installed(name)]
    rounds = [{name: bench.capacity(name) for name in names} for _ in range(ROUNDS)]
    people = {name: [found[name].people for found in rounds] for name in names}
    tried = [{name: asdict(capacity) for name, capacity in found.items()} for found in rounds]
    return {"day": date.today().isoformat(), "machine": machine(), "people": people, "rounds": tried}


def is_installed(name: str) -> bool:
    try:
        return bool(bench.TARGETS[name].version)
    except LookupError:
        return False


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
    main(sys.argv[1:])
