"""A process's own time does not count what others take."""

import os
import subprocess
import sys
import time

import pytest

from chatroom_lib.runtime.own_time import own_time, seconds_in_line

CROWD = """
import os, time
os.sched_setaffinity(0, {core})
while time.process_time() < 20: pass
"""
MEASURED = """
import os, time
from chatroom_lib.runtime.own_time import own_time
os.sched_setaffinity(0, {core})
wall, own, cpu = time.monotonic(), own_time(), time.process_time()
while time.process_time() - cpu < 0.2: pass
print(time.monotonic() - wall, own_time() - own)
"""
only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")


@only_on_linux
def test_on_a_crowded_core_less_of_it_passes():
    core = [min(os.sched_getaffinity(0))]
    crowd = [subprocess.Popen([sys.executable, "-c", CROWD.format(core=core)]) for _ in range(3)]
    command = [sys.executable, "-c", MEASURED.format(core=core)]
    try:
        measured = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    wall, own = map(float, measured.stdout.split())
    assert own < 0.6 * wall


def test_while_a_process_waits_it_passes():
    start, own = time.monotonic(), own_time()
    time.sleep(0.2)
    assert own_time() - own > 0.5 * (time.monotonic() - start)


def test_of_a_process_that_has_ended_it_is_the_monotonic_clock():
    process = subprocess.Popen(["true"])
    process.wait()
    assert seconds_in_line(process.pid) == 0.0
