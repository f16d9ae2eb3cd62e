import json

import pytest

from augserve.models.serving.settings import Slo
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.record.records import EngineTotals, SimulationResult, TurnRecord
from augserve.pipeline.simulator.record.window import Window
from experiments.fidelity.report import (
    AGENT_METRICS,
    METRICS,
    TIMES,
    Comparison,
    measured,
    order,
    paired,
    relative_error,
    summarize,
    write_report,
)


def cell(real=1.0, simulated=1.0, names=METRICS, **other):
    return paired(dict.fromkeys(names, real), dict.fromkeys(names, simulated)) | other


def in_time(real, simulated, turns):
    """A cell of which so many turns were in time."""
    counts = {"real": turns, "simulated": turns}
    return {"attainment": {"real": real / turns, "simulated": simulated / turns}, "turns": counts}


def order_in_time(by_policy):
    return order(by_policy, lambda cell, side: cell["attainment"][side] * cell["turns"][side])


def result(*turns, end_s=30.0):
    return SimulationResult(turns, EngineTotals(), end_s)


def turn(arrival_s, first_s, finish_s, output=11):
    return TurnRecord("s", "qa", 0, True, arrival_s, 10, first_s, finish_s, output)


def test_metrics_cover_the_turns_that_arrive_in_the_window():
    turns = [turn(float(at), at + 0.1 * (at + 1), at + 0.1 * (at + 1) + 1.0) for at in range(10)]
    found = measured(result(*turns, turn(12.0, 13.0, 14.0)), Window(0.0, 10.0), Slo(0.5, 0.1))
    assert found["turns"] == 10
    assert found["ttft_p50_s"] == pytest.approx(0.55)
    assert found["ttft_p90_s"] == pytest.approx(0.91)
    assert found["tpot_mean_s"] == pytest.approx(0.1)
    assert set(METRICS) | {"steps_per_minute", "steps"} <= set(found)
    assert found["steps"] == sum(one.finish_s < 10.0 for one in turns)


def test_a_turn_without_a_token_waits_until_the_end():
    found = measured(result(turn(0.0, 0.1, 1.0), turn(1.0, None, None, 0)), Window(0.0, 10.0), Slo())
    assert found["ttft_p90_s"] == pytest.approx(0.1 + 0.9 * 28.9)


def test_a_run_without_a_finished_turn_is_an_error():
    with pytest.raises(StageError, match=r"fidelity\.loads"):
        measured(result(turn(0.0, 1.0, None)), Window(0.0, 10.0), Slo())
    with pytest.raises(SimulationError, match="no turn arrived"):
        measured(result(turn(20.0, 21.0, 22.0)), Window(0.0, 10.0), Slo())


@pytest.mark.parametrize(("real", "simulated", "error"), [(2.0, 1.8, -0.1), (0.0, 0.0, 0.0), (0.0, 1.0, float("inf"))])
def test_errors_are_relative_to_the_real_run(real, simulated, error):
    assert relative_error({"real": real, "simulated": simulated}) == pytest.approx(error)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((12_000, 11_000), "same"),
        ((8_000, 9_000), "same"),
        ((12_000, 9_000), "reversed"),
        ((12_000, 10_200), "tied"),
        ((10_200, 12_000), "tied"),
    ],
)
def test_the_order_of_policies_is_compared_beyond_a_tie(ours, verdict):
    assert order_in_time({"augserve": in_time(*ours, 20_000), "vllm": in_time(10_000, 10_000, 20_000)}) == verdict


@pytest.mark.parametrize(("ours", "verdict"), [((62, 87), "tied"), ((40, 100), "reversed"), ((100, 100), "same")])
def test_counts_within_two_standard_errors_are_tied(ours, verdict):
    """65 turns in time: by luck alone another run of the same policy has 43 to 87."""
    assert order_in_time({"augserve": in_time(*ours, 600), "vllm": in_time(65, 66, 600)}) == verdict


def test_the_summary_takes_medians_over_loads_and_policies_and_the_largest_attainment_error():
    attained = {"attainment": {"real": 0.9, "simulated": 0.82}}
    light = {"vllm": cell(2.0, 2.2, **attained), "augserve": cell(4.0, 2.0, **attained)}
    found = summarize({"1x": light, "2x": {"vllm": cell(1.0, 1.0)}}, TIMES)
    assert found["median_relative_error"]["ttft_p50_s"] == pytest.approx(0.1)  # of 0.1, 0.5 and 0
    assert found["attainment_largest_difference"] == pytest.approx(0.08)
    assert found["order"] == {"1x": "tied", "2x": "same"}


def compared():
    found = Comparison()
    for policy, pace in (("vllm", 1.0), ("augserve", 0.954)):
        found.add("0.5x", policy, cell(1.0, 1.1), pace, is_closed=False)
        found.add("2x", policy, cell(), pace, is_closed=False)
    return found


def test_the_report_has_the_documented_form(tmp_path):
    found = compared()
    whole = cell(2.0, 2.0, AGENT_METRICS)
    found.add("12 agents", "vllm", whole, 1.0, is_closed=True)
    del whole["session_time_mean_s"]  # no session ended in the window
    text = write_report(tmp_path, found, {"capacity90_per_s": 1.5})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["0.5x"]["augserve"]["ttft_p50_s"] == {"real": 1.0, "simulated": 1.1}
    assert metrics["12 agents"]["vllm"]["steps_per_minute"] == {"real": 2.0, "simulated": 2.0}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["conditions"] == {"capacity90_per_s": 1.5}
    assert summary["paces"]["2x"] == {"vllm": 1.0, "augserve": 0.954}
    assert text == (tmp_path / "table.md").read_text() == found.table()
    assert "| 2x | augserve | 0.954 | 1 / 1 |" in text
    assert "| 12 agents | vllm | 1.000 | 2 / 2 | 2 / 2 | – |" in text
    assert "<svg" in (tmp_path / "fidelity.svg").read_text()


def test_both_loops_have_a_summary_of_their_own():
    found = compared()
    slow, fast = cell(1.0, 1.0, AGENT_METRICS), cell(1.0, 1.2, AGENT_METRICS)
    slow["steps"], fast["steps"] = {"real": 100, "simulated": 110}, {"real": 300, "simulated": 290}
    found.add("12 agents", "vllm", slow, 1.0, is_closed=True)
    found.add("12 agents", "augserve", fast, 1.0, is_closed=True)
    summaries = found.summaries()
    assert summaries["open_loop"]["median_relative_error_of_all"] == pytest.approx(0.05)  # of 0.1 and 0
    assert summaries["closed_loop"]["median_relative_error_of_all"] == pytest.approx(0.1)  # of 0 and 0.2
    assert summaries["closed_loop"]["order_of_steps"] == {"12 agents": "same"}
    assert summaries["closed_loop"]["order"] == {"12 agents": "tied"}
