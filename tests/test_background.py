"""The background thread is as good a place for a room as the main thread."""

import platform
import subprocess
import sys

import pytest

READS = """
import os
import resource

from chatroom_lib.runtime.background import run, run_here

reader, writer = os.pipe()

def page_faults_of(reads):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(reads):
        os.write(writer, b"x")
        os.read(reader, 1 << 18)  # with a buffer of 256 kB, as asyncio reads
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

async def main():
    page_faults_of(10)
    return page_faults_of(1000)

print({}(main()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep their buffers in their own way")
@pytest.mark.parametrize("where", ["run", "run_here"])
def test_reading_there_or_on_the_main_thread_does_not_ask_the_system_for_memory_each_time(where):
    answer = subprocess.run([sys.executable, "-c", READS.format(where)], capture_output=True, text=True, timeout=60)
    assert int(answer.stdout) < 100, answer.stderr
