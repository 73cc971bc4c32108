"""Rate limiters: may this client speak now?

A room makes one for each client and calls it once for each message: `wait(now)`, where `now` is a clock's time in
seconds. It returns 0.0 if the message may pass, and counts it; otherwise the seconds until one may.
"""


class BelowZero:
    """The check in the article's repository: refuse within less than 0 whole seconds.

    It refuses nothing, unless the clock is set back. (The text says `< 1`.)
    """

    def __init__(self):
        self.last_second = 0

    def wait(self, now: float) -> float:
        if int(now) - self.last_second < 0:
            return self.last_second - now
        self.last_second = int(now)
        return 0.0


class WholeSeconds:
    """The check in the article's text: one message in each second of the wall clock.

    Two messages a millisecond apart may pass, if a new second begins between them.
    """

    def __init__(self):
        self.last_second = -1

    def wait(self, now: float) -> float:
        if int(now) - self.last_second < 1:
            return self.last_second + 1 - now
        self.last_second = int(now)
        return 0.0


class FixedInterval:
    """At most one message in every 1 / `limit` seconds. (v3.2 does this.)"""

    def __init__(self, limit: float = 1.0):
        self.interval = 1 / positive(limit)  # seconds
        self.next_allowed = 0.0  # the earliest time of the next message

    def wait(self, now: float) -> float:
        if now < self.next_allowed:
            return self.next_allowed - now
        self.next_allowed = now + self.interval
        return 0.0


class TokenBucket:
    """A message costs a token. The bucket holds at most `burst` tokens, and gains `limit` a second.

    So a client may send `burst` messages at once after a silence, and `limit` a second in the long run. (It is the
    leaky bucket of J. Turner, "New directions in communications", IEEE Communications Magazine, October 1986, turned
    upside down.)
    """

    def __init__(self, limit: float = 1.0, burst: int = 5):
        self.limit, self.burst = positive(limit), burst  # messages a second; messages
        self.tokens = float(burst)
        self.updated_at = 0.0  # when `tokens` was last right

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
