"""The least number of engines that serves a load. More engines are assumed to serve no less."""

from collections.abc import Callable

Reaches = Callable[[int], bool]
"""Whether so many engines reach the target."""


def least_engines(reaches: Reaches, most: int, guess: int = 1) -> int | None:
    """The least number that reaches the target; None where `most` do not.

    Goes from `guess` in steps that double until the answer lies between two numbers, then bisects.
    """
    at, step = min(guess, most), 1
    if reaches(at):
        while (lower := at - step) > 0 and reaches(lower):
            at, step = lower, 2 * step
        return _bisect(reaches, max(lower, 0), at)
    while at < most:
        higher = min(at + step, most)
        if reaches(higher):
            return _bisect(reaches, at, higher)
        at, step = higher, 2 * step
    return None


def least_from_above(reaches: Reaches, most: int) -> int | None:
    """As `least_engines`, where a trial costs more the fewer engines it has: halves the number, then bisects."""
    if not reaches(most):
        return None
    while (lower := most // 2) and reaches(lower):
        most = lower
    return _bisect(reaches, lower, most)


def _bisect(reaches: Reaches, missed: int, reached: int) -> int:
    while reached - missed > 1:
        middle = (missed + reached) // 2
        if reaches(middle):
            reached = middle
        else:
            missed = middle
    return reached
