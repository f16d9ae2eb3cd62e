"""When sessions begin: arrival processes, each seeded and scaled to a rate. Times are seconds from 0, in order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
MAX_SESSIONS = 1_000_000


class ArrivalError(ValueError):
    """Arrivals cannot be made as asked; the message names the figure, the cause and the remedy."""


class Arrivals(Protocol):
    """An arrival process. Its draws depend on the generator alone, so that another rate only stretches them."""

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        """The first `count` arrivals at `rate_per_s` a second on average, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        return np.cumsum(random.exponential(size=count)) / rate_per_s


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gaps of a Gamma distribution: `cv` (sd / mean) 1 is Poisson, above it arrivals cluster, below they even out."""

    cv: float

    def __post_init__(self) -> None:
        require_positive("arrivals: the CV of gamma", self.cv)

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        shape = 1 / self.cv**2
        return np.cumsum(random.gamma(shape, 1 / shape, size=count)) / rate_per_s


@dataclass(frozen=True, slots=True)
class Burst:
    """Poisson at a rate that jumps: the first `share` of each `period_s` brings `factor` times the mean rate, the rest
    of it what is left. The period stays as it is at every rate."""

    period_s: float = 60.0
    share: float = 0.2
    factor: float = 4.0

    def __post_init__(self) -> None:
        require_positive("arrivals: the period of bursts", self.period_s)
        if not (0 < self.share < 1 and self.factor >= 1 and self.factor * self.share <= 1):
            raise ArrivalError(
                f"arrivals: bursts of {self.factor} times the rate for a share of {self.share}: the share must be in "
                "(0, 1), the factor 1 or more and their product 1 at most; lower one of them"
            )

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        # An arrival is where the expected count, which rises in two slopes a period, passes its unit-rate time.
        expected = np.cumsum(random.exponential(size=count)) / rate_per_s  # in seconds of the mean rate
        periods, within = np.divmod(expected, self.period_s)
        in_burst = self.factor * self.share * self.period_s
        burst_s = self.share * self.period_s
        rest_rate = (1 - self.factor * self.share) / (1 - self.share)
        after = burst_s + (within - in_burst) / rest_rate if rest_rate > 0 else np.full(count, burst_s)
        times: Times = periods * self.period_s + np.where(within <= in_burst, within / self.factor, after)
        return times


@dataclass(frozen=True, slots=True)
class Swing:
    """Poisson at a rate that swings like a cosine, from its trough at 0: its peak is `ratio` times its trough, the mean
    over a period the rate asked for. With ratio 10 a mean of 1.65 swings between 0.3 and 3. The period stays as it is
    at every rate."""

    period_s: float = 60.0
    ratio: float = 10.0

    def __post_init__(self) -> None:
        require_positive("arrivals: the period of a swing", self.period_s)
        if not (math.isfinite(self.ratio) and self.ratio >= 1):
            raise ArrivalError(f"arrivals: a swing whose peak is {self.ratio} times its trough; it must be 1 or more")

    def bounds(self, mean: float) -> tuple[float, float]:
        """The rates at the trough and at the peak of a swing of some mean rate."""
        trough = 2 * mean / (1 + self.ratio)
        return trough, trough * self.ratio

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        # As for bursts: an arrival is where the expected count passes its unit-rate time. Within a period that count is
        # t - A·sin(t) of the angle t, which has no inverse in closed form: it is read off a table.
        expected = np.cumsum(random.exponential(size=count)) / rate_per_s  # in seconds of the mean rate
        periods, within = np.divmod(expected, self.period_s)
        angle = np.linspace(0, 2 * np.pi, SWING_POINTS)
        counted = angle - (self.ratio - 1) / (self.ratio + 1) * np.sin(angle)
        found = np.interp(within / self.period_s, counted / (2 * np.pi), angle / (2 * np.pi))
        times: Times = (periods + found) * self.period_s
        return times


SWING_POINTS = 4096


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded starts themselves. A rate stretches the time between them by one factor."""

    def times(self, starts_s: Sequence[float], rate_per_s: float | None) -> Times:
        """The starts (in order) from 0 on; as recorded without a rate. Raises ArrivalError where a rate is asked for
        and they span no time."""
        starts = np.array(starts_s, np.float64)
        starts -= starts[:1]
        if rate_per_s is None:
            return starts
        require_positive("workload: session rate, 1/s,", rate_per_s)
        if not (len(starts) and starts[-1] > 0):
            raise ArrivalError(
                f"arrivals: the {len(starts)} recorded sessions all begin at one time, so they have no rate to scale; "
                "choose poisson, gamma:CV or burst"
            )
        return starts * ((len(starts) - 1) / float(starts[-1]) / rate_per_s)


def parse_arrivals(text: str) -> Arrivals | Recorded:
    """`poisson`, `gamma:CV`, `burst`, `swing` or `recorded`, as a user writes it. Raises ArrivalError for any
    other."""
    known: dict[str, Arrivals | Recorded] = {
        "poisson": Poisson(),
        "burst": Burst(),
        "swing": Swing(),
        "recorded": Recorded(),
    }
    if text in known:
        return known[text]
    name, _, cv = text.partition(":")
    if name != "gamma" or not cv:
        raise ArrivalError(f"arrivals: {text!r} is unknown; known are poisson, gamma:CV, burst, swing and recorded")
    try:
        number = float(cv)
    except ValueError as error:
        raise ArrivalError(f"arrivals: the CV in {text!r} is no number; write gamma:2, say") from error
    return Gamma(number)


def session_count(duration_s: float, rate_per_s: float) -> int:
    """How many sessions arrive in a time, 1 or more. Raises ArrivalError for NaN, for what is not positive, and for a
    product that no memory holds."""
    require_positive("workload: duration, s,", duration_s)
    require_positive("workload: session rate, 1/s,", rate_per_s)
    count = max(1, round(duration_s * rate_per_s))
    if count > MAX_SESSIONS:
        raise ArrivalError(
            f"workload: {duration_s:g} s at {rate_per_s:g} sessions/s are {count} sessions, more than {MAX_SESSIONS}; "
            "lower one of them"
        )
    return count


def covering_count(duration_s: float, rate_per_s: float) -> int:
    """Sessions to draw so that arrivals nearly surely go on to the end of a time: a fifth more than its mean, and 50.

    Raises ArrivalError as `session_count`.
    """
    return session_count(duration_s, rate_per_s) * 6 // 5 + 50


def require_positive(name: str, value: float) -> None:
    """Raise ArrivalError unless `value` is a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ArrivalError(f"{name} is {value}; it must be a positive number")
