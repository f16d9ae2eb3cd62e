import math
import random

from hypothesis import given
from hypothesis import strategies as st

from augserve.features.running import RecentLog, RecentTable, Running


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_a_running_series_has_mean_greatest_and_last_two_values(values: list[float]) -> None:
    running = Running()
    for value in values:
        running.add(value)
    assert running.count == len(values)
    assert (running.before_last, running.last) == (values[-2], values[-1])
    assert running.greatest == max(values)
    assert math.isclose(running.mean, sum(values) / len(values), rel_tol=1e-9, abs_tol=1e-6)


def test_the_first_values_of_a_recent_log_weigh_equally() -> None:
    series = RecentLog()
    for value in (1.0, math.e, math.e**2):
        series.add(value)
    assert math.isclose(series.mean, 1.0)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_a_recent_log_stays_between_least_and_greatest(values: list[float]) -> None:
    series = RecentLog()
    for value in values:
        series.add(value)
    logs = [math.log(max(value, 1e-6)) for value in values]
    assert min(logs) - 1e-9 <= series.mean <= max(logs) + 1e-9
    assert math.isnan(series.spread) == (len(values) == 1)
    assert math.isfinite(series.high)


def test_the_high_quantile_is_the_greatest_of_few_and_about_the_0_9_quantile_of_many() -> None:
    few, many, draw = RecentLog(), RecentLog(), random.Random(3)
    for value in (2.0, 9.0, 4.0):
        few.add(value)
    assert math.isclose(few.high, math.log(9))
    values = [draw.lognormvariate(1, 2) for _ in range(6000)]
    below = 0
    for number, value in enumerate(values):
        if number > 1000:
            below += math.log(value) <= many.high
        many.add(value)
    assert 0.87 < below / 4999 < 0.93


def test_the_recent_mean_follows_a_change_after_many_values() -> None:
    series = RecentLog()
    for value in [1.0] * 1000 + [100.0] * 30:
        series.add(value)
    assert series.mean > 0.9 * math.log(100)


def test_a_full_table_forgets_the_least_recently_used_name() -> None:
    table: RecentTable[str] = RecentTable(max_names=2)
    for name in ("a", "b", "a", "c"):
        table.add(name, 1.0)
    assert (table.of("a").count, table.of("b").count, table.of("c").count) == (2, 0, 1)
    assert len(table) == 2


def test_names_that_are_used_once_leave_those_that_are_used_often() -> None:
    many = 100
    table: RecentTable[str] = RecentTable(max_names=40)
    for name in [f"tool-{number}" for number in range(30)] * 2 + [f"made up {number}" for number in range(many)]:
        table.add(name, 1.0)
    assert len(table) == 40
    assert all(table.of(f"tool-{number}").count == 2 for number in range(30))
    assert table.of(f"made up {many - 1}").count == 1


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_a_table_is_bounded_and_knows_the_name_used_last(names: list[int], most: int) -> None:
    table: RecentTable[int] = RecentTable(max_names=most)
    for name in names:
        known = table.of(name).count
        table.add(name, 1.0)
        assert table.of(name).count == known + 1
        assert len(table) <= most
