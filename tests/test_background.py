"""The background thread is as good a place for a room as the main thread."""

import platform
import subprocess
import sys

import pytest

READS = """
import os
import resource

from chatroom_lib import run

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

print(run(main()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep their buffers in their own way")
def test_reading_on_the_background_thread_does_not_ask_the_system_for_memory_each_time():
    answer = subprocess.run([sys.executable, "-c", READS], capture_output=True, text=True, timeout=60)
    assert int(answer.stdout) < 100, answer.stderr
