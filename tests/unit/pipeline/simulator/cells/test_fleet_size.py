from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.simulator.cells.fleet_size import least_engines, least_from_above

ENGINES = st.integers(1, 200)


def noting(needed: int, tried: list[int]) -> Callable[[int], bool]:
    def reaches(engines: int) -> bool:
        tried.append(engines)
        return engines >= needed

    return reaches


@given(ENGINES, ENGINES, ENGINES)
def test_the_least_number_is_found_in_few_tries(needed: int, most: int, guess: int) -> None:
    tried: list[int] = []
    assert least_engines(noting(needed, tried), most, guess) == (needed if needed <= most else None)
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1
    assert min(tried) >= 1
    assert max(tried) <= most


@given(ENGINES)
def test_a_good_guess_takes_two_tries(needed: int) -> None:
    tried: list[int] = []
    assert least_engines(noting(needed, tried), 200, needed) == needed
    assert len(tried) <= 2


@given(ENGINES, ENGINES)
def test_from_above_no_number_far_below_the_answer_is_tried(needed: int, most: int) -> None:
    tried: list[int] = []
    assert least_from_above(noting(needed, tried), most) == (needed if needed <= most else None)
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1
    assert min(tried) >= min(needed, most) // 2
