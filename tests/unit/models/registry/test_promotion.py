import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.registry.promotion import estimates, no_worse


def evaluated(**cells):
    """Cells of one workload and profile: load (x2) or agents (agents8) → value, or (low, value, high)."""
    loads = {}
    for load, value in cells.items():
        low, mean, high = value if isinstance(value, tuple) else (None, value, None)
        metrics = {"effective_throughput": mean}
        if low is not None:
            metrics |= {"effective_throughput_low": low, "effective_throughput_high": high}
        name = f"{load.removeprefix('x')}x" if load.startswith("x") else load.removeprefix("agents")
        loads[name] = {"vllm": {"effective_throughput": 1.0}, "augserve": metrics}
    return {"mix": {"h100": loads}, "capacity90": {"mix": {"h100": {"augserve": 16.0}}}, "summary": {"a": 1}}


def test_equal_and_better_results_are_no_worse():
    assert no_worse(evaluated(x1=60.0, x2=70.0), evaluated(x1=60.0, x2=70.0)) == []
    assert no_worse(evaluated(x1=61.0, x2=90.0), evaluated(x1=60.0, x2=70.0)) == []


def test_without_intervals_two_percent_is_tolerated():
    assert no_worse(evaluated(x2=98.1), evaluated(x2=100.0)) == []
    (reason,) = no_worse(evaluated(x2=97.9), evaluated(x2=100.0))
    assert reason == ("mix on h100 at 2x: goodput 97.9 turns/s, champion 100.0 (-2.1%; chance ±2.0%)")


def test_gain_at_one_load_does_not_offset_a_loss_at_another():
    reasons = no_worse(evaluated(x1=50.0, x2=200.0), evaluated(x1=60.0, x2=70.0))
    assert [reason.split(":")[0] for reason in reasons] == ["mix on h100 at 1x"]


def test_loss_on_one_workload_is_worse():
    def on_both(swing):
        results = evaluated(x2=70.0)
        return results | {"mix-swing": evaluated(**{"x1.65": swing})["mix"]}

    assert no_worse(on_both(60.0), on_both(60.0)) == []
    (reason,) = no_worse(on_both(50.0), on_both(60.0))
    assert reason.startswith("mix-swing on h100 at 1.65x: goodput 50.0 turns/s, champion 60.0")
    assert no_worse(evaluated(x2=90.0), on_both(60.0)) == ["mix-swing on h100 at 1.65x: not evaluated"]


def test_agents_are_no_load_of_an_open_loop():
    assert no_worse(evaluated(x2=90.0, agents2=1.0), evaluated(x2=60.0, agents2=1.0)) == []
    (reason,) = no_worse(evaluated(x2=90.0, agents2=0.5), evaluated(x2=60.0, agents2=1.0))
    assert reason.startswith("mix on h100 at 2 agents: goodput 0.5")


def test_an_older_evaluation_has_open_loops_only():
    before = evaluated(x2=60.0) | {"format": 2}
    before["mix"]["h100"] = {"2": before["mix"]["h100"]["2x"]}
    assert no_worse(evaluated(x2=60.0, agents2=1.0), before) == []
    (reason,) = no_worse(evaluated(x2=50.0), before)
    assert reason.startswith("mix on h100 at 2x: goodput 50.0")


def test_half_widths_add_as_independent_errors():
    old = evaluated(x2=(97.0, 100.0, 103.0))
    assert no_worse(evaluated(x2=(91.1, 95.1, 99.1)), old) == []  # 4.9 lower; the margin is 5
    assert len(no_worse(evaluated(x2=(90.9, 94.9, 98.9)), old)) == 1


def test_narrow_interval_replaces_the_tolerance():
    assert len(no_worse(evaluated(x2=(98.9, 99.0, 99.1)), evaluated(x2=(99.9, 100.0, 100.1)))) == 1


def test_missing_cell_of_the_champion_is_worse():
    assert no_worse(evaluated(x1=60.0), evaluated(x1=60.0, x2=70.0)) == ["mix on h100 at 2x: not evaluated"]
    assert no_worse(evaluated(x1=60.0, x2=70.0), evaluated(x1=60.0)) == []


@pytest.mark.parametrize("old", [{}, {"summary": {"gain": 1.4}}, {"mix": []}, {"mix": {"h100": {"2": {"vllm": {}}}}}])
def test_champion_without_cells_gives_a_reason(old):
    assert len(no_worse(evaluated(x1=60.0), old)) == 1


@given(st.dictionaries(st.sampled_from(["x0.5", "x1", "x2", "x3"]), st.floats(0, 1e4), min_size=1))
def test_no_result_is_worse_than_itself(values):
    assert no_worse(evaluated(**values), evaluated(**values)) == []


def test_estimates_reads_the_committed_report():
    metrics = json.loads((Path(__file__).parents[4] / "reports/evaluate/metrics.json").read_text())
    cells = dict(estimates(metrics))
    assert len(cells) >= 3
    assert no_worse(metrics, metrics) == []


def test_margin_uses_the_facing_sides_of_the_intervals():
    old = evaluated(x2=(99.0, 100.0, 109.0))
    assert no_worse(evaluated(x2=(94.0, 95.0, 100.0)), old) == []  # 5 lower; the margin is hypot(5, 1)
    assert len(no_worse(evaluated(x2=(86.0, 95.0, 96.0)), old)) == 1  # the wide side is the lower one
