"""Arrival processes of sessions. Times are seconds from 0, in order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .model import WorkloadError

Times = NDArray[np.float64]
MAX_SESSIONS = 1_000_000
_SWING_POINTS = 4096


class Arrivals(Protocol):
    """An arrival process. Its draws depend on the generator alone; another rate only stretches the times."""

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        """The first `count` arrivals at `rate_per_s` a second on average, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        return np.cumsum(random.exponential(size=count)) / rate_per_s


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gaps of a Gamma distribution with the coefficient of variation `cv` (sd / mean); 1 is Poisson."""

    cv: float

    def __post_init__(self) -> None:
        require_positive("arrivals: the CV of gamma", self.cv)

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        shape = 1 / self.cv**2
        return np.cumsum(random.gamma(shape, 1 / shape, size=count)) / rate_per_s


@dataclass(frozen=True, slots=True)
class Burst:
    """Poisson at a rate that jumps: `factor` times the mean rate in the first `share` of each period.

    The rest of the period has a lower rate, so that the mean holds. The period does not depend on the rate.
    """

    period_s: float = 60.0
    share: float = 0.2
    factor: float = 4.0

    def __post_init__(self) -> None:
        require_positive("arrivals: the period of bursts", self.period_s)
        if not (0 < self.share < 1 and self.factor >= 1 and self.factor * self.share <= 1):
            raise WorkloadError(
                f"arrivals: bursts of {self.factor} times the rate for a share of {self.share}: the share must be in "
                "(0, 1), the factor 1 or more and their product 1 at most; lower one of them"
            )

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        # An arrival is the time at which the expected count reaches its unit-rate time; it has two slopes a period.
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
    """Poisson at a rate that follows a cosine, from its trough at time 0; the peak is `ratio` times the trough.

    The given rate is the mean: with ratio 10 a mean of 1.65 swings between 0.3 and 3. The period does not depend on it.
    """

    period_s: float = 60.0
    ratio: float = 10.0

    def __post_init__(self) -> None:
        require_positive("arrivals: the period of a swing", self.period_s)
        if not (math.isfinite(self.ratio) and self.ratio >= 1):
            raise WorkloadError(f"arrivals: a swing whose peak is {self.ratio} times its trough; it must be 1 or more")

    def bounds(self, mean: float) -> tuple[float, float]:
        """The rates at the trough and at the peak, for a mean rate."""
        trough = 2 * mean / (1 + self.ratio)
        return trough, trough * self.ratio

    def times(self, count: int, rate_per_s: float, random: np.random.Generator) -> Times:
        # As for bursts; within a period the expected count is t - A·sin(t) of the angle t. Its inverse has no closed
        # form and is interpolated.
        expected = np.cumsum(random.exponential(size=count)) / rate_per_s  # in seconds of the mean rate
        periods, within = np.divmod(expected, self.period_s)
        angle = np.linspace(0, 2 * np.pi, _SWING_POINTS)
        counted = angle - (self.ratio - 1) / (self.ratio + 1) * np.sin(angle)
        fraction = np.interp(within / self.period_s, counted / (2 * np.pi), angle / (2 * np.pi))
        times: Times = (periods + fraction) * self.period_s
        return times


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded starts; a rate stretches all gaps by one factor."""

    def times(self, starts_s: Sequence[float], rate_per_s: float | None) -> Times:
        """The starts (in order), moved to begin at 0. Raises WorkloadError for a rate where they span no time."""
        starts = np.array(starts_s, np.float64)
        starts -= starts[:1]
        if rate_per_s is None:
            return starts
        require_positive("workload: session rate, 1/s,", rate_per_s)
        if not (len(starts) and starts[-1] > 0):
            raise WorkloadError(
                f"arrivals: the {len(starts)} recorded sessions all begin at one time, so they have no rate to scale; "
                "choose poisson, gamma:CV or burst"
            )
        return starts * ((len(starts) - 1) / float(starts[-1]) / rate_per_s)


def parse_arrivals(text: str) -> Arrivals | Recorded:
    """The process named `poisson`, `gamma:CV`, `burst`, `swing` or `recorded`. Raises WorkloadError for other texts."""
    processes: dict[str, Arrivals | Recorded] = {
        process.__name__.lower(): process() for process in (Poisson, Burst, Swing, Recorded)
    }
    if text in processes:
        return processes[text]
    name, _, cv = text.partition(":")
    if name != "gamma" or not cv:
        raise WorkloadError(f"arrivals: {text!r} is unknown; known are {', '.join(processes)} and gamma:CV")
    try:
        coefficient = float(cv)
    except ValueError as error:
        raise WorkloadError(f"arrivals: the CV in {text!r} is no number; write gamma:2, for example") from error
    return Gamma(coefficient)


def session_count(duration_s: float, rate_per_s: float) -> int:
    """The mean number of sessions that arrive in a time, at least 1.

    Raises WorkloadError for a figure that is not positive, and above MAX_SESSIONS.
    """
    require_positive("workload: duration, s,", duration_s)
    require_positive("workload: session rate, 1/s,", rate_per_s)
    count = max(1, round(duration_s * rate_per_s))
    if count > MAX_SESSIONS:
        raise WorkloadError(
            f"workload: {duration_s:g} s at {rate_per_s:g} sessions/s are {count} sessions, more than {MAX_SESSIONS}; "
            "lower one of them"
        )
    return count


def covering_count(duration_s: float, rate_per_s: float) -> int:
    """Sessions to draw so that arrivals almost surely cover a time: 20 % more than the mean, plus 50.

    Raises WorkloadError as `session_count`.
    """
    return session_count(duration_s, rate_per_s) * 6 // 5 + 50


def require_positive(name: str, value: float) -> None:
    """Raise WorkloadError unless `value` is a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise WorkloadError(f"{name} is {value}; it must be a positive number")
