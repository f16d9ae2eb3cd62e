import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.importers.writing import durations
from augserve.data.importers.writing.durations import DurationHistograms


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1))
def test_quantiles_are_within_a_percent(values: list[float]) -> None:
    histograms = DurationHistograms()
    for value in values:
        histograms.add("t", value)
    found, ordered = histograms.durations()["t"], sorted(values)
    assert (found.count, found.max_s) == (len(values), ordered[-1])
    for level, quantile_s in ((0.5, found.p50_s), (0.9, found.p90_s)):
        assert quantile_s == pytest.approx(ordered[math.ceil(level * len(values)) - 1], rel=0.0101)


def test_tools_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "_TOOLS", 2)
    histograms = DurationHistograms()
    for number in range(10):
        histograms.add(f"tool-{number}", 1.0)
    assert {tool: found.count for tool, found in histograms.durations().items()} == {
        "(other tools)": 8,
        "tool-0": 1,
        "tool-1": 1,
    }
