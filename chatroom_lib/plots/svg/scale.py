"""Where on the paper a value lies, and which values get a tick."""

import math
from itertools import pairwise

from chatroom_lib.plots.svg.marks import width_of

ACROSS, UP = 3, 2  # spacing of ticks: those of an x axis have their words side by side
MARGIN = 0.05  # of the span, left free beside the outermost values
STEPS = (1, 2, 2.5, 5)
WHOLE = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # of which those are taken that are whole numbers, times 10, 100, ...


class Scale:
    """One axis: its limits, ticks and label. `spacing`: from tick to tick, at least, in sizes of their words."""

    def __init__(self, spacing: float) -> None:
        self.values: list[float] = []  # that limits depend on, of all that is drawn
        self.sticky: set[float] = set()  # values that need no margin, such as where bars begin
        self.low: float | None = None
        self.high: float | None = None
        self.margin = MARGIN
        self.log = self.inverted = self.whole = False
        self.most: int | None = None  # from tick to tick; None: as many as there is space for
        self.ticks: list[tuple[float, str]] | None = None  # None: chosen here
        self.subs: tuple[int, ...] = (1,)  # of a logarithmic axis: which multiples of 10, 100, ... have a tick
        self.label = ""
        self.label_size: float = 10
        self.tick_size: float = 10
        self.tick_length: float = 3.5
        self.spacing = spacing
        self.twins: list[Scale] = [self]  # those that share its limits

    def note(self, values) -> None:
        self.values += [value for value in values if math.isfinite(value) and (value > 0 or not self.log)]
        positive = [value for value in self.values if value > 0]
        self.values = [
            choose(each) for choose, each in ((min, self.values), (max, self.values), (min, positive)) if each
        ]

    def as_drawn(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def limits(self) -> tuple[float, float]:
        """As drawn: of a logarithmic axis, their logarithms."""
        values = [self.as_drawn(v) for twin in self.twins for v in twin.values if v > 0 or not self.log] or [0.0, 1.0]
        low, high = min(values), max(values)
        if low == high:
            around = 1 if self.log else 0.05 * (abs(low) or 1)
            low, high = low - around, high + around
        room = self.margin * (high - low)
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
        most = self.most or int(max(1, min(9, length / self.spacing / self.tick_size)))
        choose = self.powers if self.log else self.multiples
        choices = map(choose, range(most, 0, -1))
        return next((ticks for ticks in choices if self.have_space(ticks, length)), choose(1))

    def have_space(self, ticks: list[tuple[float, str]], length: float) -> bool:
        """Whether words side by side do not touch; those above each other have space."""
        if self.spacing < ACROSS:
            return True
        ends = [(self.share(value) * length, width_of(text, self.tick_size) / 2) for value, text in ticks]
        return all(abs(y - x) > before + after + 2 for (x, before), (y, after) in pairwise(ends))

    def multiples(self, most: int) -> list[tuple[float, str]]:
        """Of the smallest round number that has not more than `most` steps between the limits, and two ticks."""
        low, high = self.limits()
        power = 10.0 ** math.floor(math.log10((high - low) / most))
        steps = [each * scale for scale in (power / 10, power, 10 * power) for each in (WHOLE if self.whole else STEPS)]
        if self.whole:
            steps = [round(each) for each in steps if each > 0.9 and abs(each - round(each)) < 0.001] or [1]
        fitting = next((place for place, each in enumerate(steps) if (high - low) / each <= most), len(steps) - 1)
        for step in reversed(steps[: fitting + 1]):
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last > first:
                break
        decimals = next(count for count in range(300) if math.isclose(round(step, count), step))
        texts = (f"{n * step + 0.0:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for n in range(first, last + 1))
        return list(zip((n * step for n in range(first, last + 1)), texts))

    def powers(self, most: int) -> list[tuple[float, str]]:
        """Of 10, or of each second or third power of 10 where there would be more than `most` steps between them."""
        low, high = self.limits()
        stride = math.ceil((math.floor(high) - math.ceil(low)) / most) or 1
        powers = [power for power in range(math.floor(low), math.ceil(high) + 1) if power % stride == 0]
        values = [sub * 10.0**power for power in powers for sub in self.subs]
        return [(value, f"{value:,.10g}") for value in values if low <= math.log10(value) <= high]
