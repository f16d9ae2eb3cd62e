"""The least number of engines that serves a load."""

from collections.abc import Callable


def least_engines(reaches: Callable[[int], bool], most: int) -> int | None:
    """The least number of engines with which the target is reached; None where `most` do not reach it.

    Doubles the number until it is reached, then bisects. More engines are assumed to serve no less.
    """
    missed, reached = 0, 1
    while not reaches(reached):
        if reached == most:
            return None
        missed, reached = reached, min(2 * reached, most)
    while reached - missed > 1:
        middle = (missed + reached) // 2
        if reaches(middle):
            reached = middle
        else:
            missed = middle
    return reached
