"""The processor of one server in a simulated run: its steps come one after the other, and each takes some time."""

import asyncio
from collections import deque

from chatroom_lib.runs.network import LATENCY

LEAD = LATENCY[0]  # seconds by which a server's next step may be ahead of what people do


class Processor:
    def __init__(self):
        self.busy_until = 0.0  # virtual seconds
        self.put_by: deque[asyncio.Handle] = deque()  # steps that wait for it
        self.has_run = False  # in this iteration of the loop

    @property
    def free_at(self) -> float:
        """When its next step may begin."""
        return self.busy_until - LEAD
