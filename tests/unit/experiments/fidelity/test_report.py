import json

import pytest

from augserve.models.serving.settings import Slo
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.record.records import EngineTotals, SimulationResult, TurnRecord
from augserve.pipeline.simulator.record.window import Window
from experiments.fidelity.report import (
    METRICS,
    measured,
    order,
    paired,
    relative_error,
    summarize,
    table,
    write_report,
)


def cell(real=1.0, simulated=1.0, **other):
    return paired(dict.fromkeys(METRICS, real), dict.fromkeys(METRICS, simulated)) | other


def in_time(real, simulated, turns):
    """A cell of which so many turns were in time."""
    counts = {"real": turns, "simulated": turns}
    return {"attainment": {"real": real / turns, "simulated": simulated / turns}, "turns": counts}


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
    assert set(found) == set(METRICS)


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
    assert order({"augserve": in_time(*ours, 20_000), "vllm": in_time(10_000, 10_000, 20_000)}) == verdict


@pytest.mark.parametrize(("ours", "verdict"), [((62, 87), "tied"), ((40, 100), "reversed"), ((100, 100), "same")])
def test_counts_within_two_standard_errors_are_tied(ours, verdict):
    """65 turns in time: by luck alone another run of the same policy has 43 to 87."""
    assert order({"augserve": in_time(*ours, 600), "vllm": in_time(65, 66, 600)}) == verdict


def test_the_summary_takes_medians_over_loads_and_policies_and_the_largest_attainment_error():
    attained = {"attainment": {"real": 0.9, "simulated": 0.82}}
    light = {"vllm": cell(2.0, 2.2, **attained), "augserve": cell(4.0, 2.0, **attained)}
    found = summarize({"1": light, "2": {"vllm": cell(1.0, 1.0)}})
    assert found["median_relative_error"]["ttft_p50_s"] == pytest.approx(0.1)  # of 0.1, 0.5 and 0
    assert found["attainment_largest_difference"] == pytest.approx(0.08)
    assert found["order"] == {"1": "tied", "2": "same"}


def test_the_report_has_the_documented_form(tmp_path):
    results = {"2": {"vllm": cell(), "augserve": cell()}, "0.5": {"vllm": cell(), "augserve": cell(1.0, 1.1)}}
    paces = {load: {"vllm": 1.0, "augserve": 0.954} for load in results}
    text = write_report(tmp_path, results, paces, {"capacity90_per_s": 1.5})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["0.5"]["augserve"]["ttft_p50_s"] == {"real": 1.0, "simulated": 1.1}
    assert json.loads((tmp_path / "summary.json").read_text())["conditions"] == {"capacity90_per_s": 1.5}
    assert json.loads((tmp_path / "summary.json").read_text())["paces"] == paces
    assert text == table(results, paces)
    assert "| 2x | augserve | 0.954 | 1 / 1 |" in text
    assert text.index("| 0.5x |") < text.index("| 2x |")
    assert "<svg" in (tmp_path / "fidelity.svg").read_text()
