"""Rate limiters: may this client speak now?

A room makes one for each client and asks it once for each message: `wait(now)`, where `now` is a clock's time in
seconds. The answer is 0.0 if the message may pass, and then it counts; or else the seconds until one might.
"""


class BelowZero:
    """The check in the article's repository: refuse within less than 0 whole seconds.

    It refuses nothing, unless somebody sets the clock back. (The text says `< 1`.)
    """

    def __init__(self):
        self.last = 0

    def wait(self, now: float) -> float:
        if int(now) - self.last < 0:
            return self.last - now
        self.last = int(now)
        return 0.0


class WholeSeconds:
    """The check in the article's text: one message in each second of the wall clock.

    Two messages a millisecond apart may pass, if the clock strikes between them.
    """

    def __init__(self):
        self.last = -1

    def wait(self, now: float) -> float:
        if int(now) - self.last < 1:
            return self.last + 1 - now
        self.last = int(now)
        return 0.0


class FixedInterval:
    """The next message 1 / `limit` seconds after the last one. (v3.2 does this.)"""

    def __init__(self, limit: float = 1.0):
        self.pause = 1 / positive(limit)
        self.next_allowed = 0.0  # the earliest time of its next message

    def wait(self, now: float) -> float:
        if now < self.next_allowed:
            return self.next_allowed - now
        self.next_allowed = now + self.pause
        return 0.0


class TokenBucket:
    """A message costs a token. The bucket holds `burst`, and gains `limit` a second.

    So a client may say some things at once after a silence, and `limit` a second in the
    long run. (It is the leaky bucket of J. Turner, "New directions in communications",
    IEEE Communications Magazine, October 1986, turned round.)
    """

    def __init__(self, limit: float = 1.0, burst: int = 5):
        self.limit, self.burst = positive(limit), burst
        self.tokens = float(burst)
        self.updated_at = 0.0  # the time for which `tokens` is right

    def wait(self, now: float) -> float:
        self.tokens = min(self.burst, self.tokens + (now - self.updated_at) * self.limit)
        self.updated_at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.limit
        self.tokens -= 1
        return 0.0


def positive(limit: float) -> float:
    if not limit > 0:
        raise ValueError(f"a limit must be more than 0 messages a second, not {limit!r}")
    return limit
