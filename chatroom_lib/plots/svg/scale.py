"""Where on the paper a value lies, and which values get a tick."""

import math
from collections.abc import Iterator

MARGIN = 0.05  # of the span, left free beside the outermost values
STEPS = (1, 2, 2.5, 5, 10)


class Scale:
    """One axis: its limits, ticks and label. Positions are points from where the axes begin."""

    def __init__(self) -> None:
        self.values: list[float] = []  # all that is drawn
        self.sticky: set[float] = set()  # values that need no margin, such as where bars begin
        self.low: float | None = None
        self.high: float | None = None
        self.margin = MARGIN
        self.log = self.inverted = self.whole = False
        self.most: int | None = None  # ticks
        self.ticks: list[tuple[float, str]] | None = None  # None: chosen here
        self.subs: tuple[int, ...] = (1,)  # of a logarithmic axis: which multiples of 10, 100, ... have a tick
        self.label = ""
        self.label_size: float = 10
        self.tick_size: float = 10
        self.tick_length: float = 3.5
        self.spacing: float = 45  # points from tick to tick, at least
        self.twins: list[Scale] = [self]  # those that share its limits

    def note(self, values) -> None:
        self.values += [value for value in values if math.isfinite(value) and (value > 0 or not self.log)]

    def as_drawn(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def limits(self) -> tuple[float, float]:
        """As drawn: of a logarithmic axis, their logarithms."""
        values = [self.as_drawn(v) for twin in self.twins for v in twin.values if v > 0 or not self.log] or [0.0, 1.0]
        low, high = min(values), max(values)
        room = self.margin * ((high - low) or 1)
        sticky = {self.as_drawn(value) for twin in self.twins for value in twin.sticky}
        lows = [twin.low for twin in self.twins if twin.low is not None]
        highs = [twin.high for twin in self.twins if twin.high is not None]
        low = self.as_drawn(lows[-1]) if lows else low if low in sticky else low - room
        high = self.as_drawn(highs[-1]) if highs else high if high in sticky else high + room
        return low, high if high > low else low + 1

    def share(self, value: float) -> float:
        """Where it lies between the limits, from 0 to 1."""
        low, high = self.limits()
        share = (self.as_drawn(value) - low) / (high - low)
        return 1 - share if self.inverted else share

    def ticks_shown(self, length: float) -> list[tuple[float, str]]:
        """(value, its text), on an axis of so many points."""
        if self.ticks is not None:
            return self.ticks
        low, high = self.limits()
        if self.log:
            return [(value, f"{value:,.10g}") for value in self.log_ticks(low, high)]
        step = self.step(high - low, self.most or max(2, min(10, length / self.spacing)))
        decimals = max(0, -math.floor(math.log10(step) + 1e-9), 1 if step % 1 == 0.5 else 0, 2 if step == 0.25 else 0)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        texts = (f"{n * step + 0.0:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for n in range(first, last + 1))
        return list(zip((n * step for n in range(first, last + 1)), texts))

    def step(self, span: float, most: float) -> float:
        """From one tick to the next: the smallest round number with which there are not more than that."""
        power = 10.0 ** math.floor(math.log10(span / most))
        steps = [each * scale for scale in (power, 10 * power) for each in STEPS]
        if self.whole:
            steps = [each for each in steps if each % 1 == 0] or [1.0]
        return next((each for each in steps if span / each <= most), steps[-1])

    def log_ticks(self, low: float, high: float) -> Iterator[float]:
        for power in range(math.floor(low), math.ceil(high) + 1):
            for sub in self.subs:
                if low <= math.log10(value := sub * 10.0**power) <= high:
                    yield value
