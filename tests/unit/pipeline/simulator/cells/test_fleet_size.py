from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.simulator.cells.fleet_size import least_engines


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_least_number_is_found_in_few_tries(needed: int, most: int) -> None:
    tried: list[int] = []

    def reaches(engines: int) -> bool:
        tried.append(engines)
        return engines >= needed

    assert least_engines(reaches, most) == (needed if needed <= most else None)
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1
    assert max(tried) <= most
