import math

from hypothesis import given
from hypothesis import strategies as st

from augserve.features.history import RunningMean, SessionHistory, ToolHistory


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_running_mean_is_the_mean(values: list[float]) -> None:
    running = RunningMean()
    for value in values:
        running.add(value)
    assert running.count == len(values)
    assert running.last == values[-1]
    assert math.isclose(running.mean, sum(values) / len(values), rel_tol=1e-9, abs_tol=1e-6)


def test_an_empty_history_knows_nothing() -> None:
    session = SessionHistory()
    assert session.context_tokens == 0
    assert session.last_tool is None
    assert math.isnan(session.output_tokens.last)
    assert math.isnan(ToolHistory().log_duration_s("sql"))
    assert math.isnan(ToolHistory().log_duration_s(None))


def test_a_tool_remembers_recent_durations_on_log_scale() -> None:
    tools = ToolHistory(weight=0.5)
    tools.add("sql", 1.0)
    tools.add("sql", math.e**2)
    tools.add("python", 5.0)
    assert math.isclose(tools.log_duration_s("sql"), 1.0)


def test_a_duration_of_zero_stays_finite() -> None:
    tools = ToolHistory()
    tools.add("sql", 0.0)
    assert math.isfinite(tools.log_duration_s("sql"))
