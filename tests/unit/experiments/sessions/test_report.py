import pytest

from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.metrics import metrics_of
from augserve.pipeline.simulator.record.samples import Samples
from experiments.sessions.report import SceneResult, row_cells, sessions_markdown


def run(steps: int, sessions: int = 40) -> Evidence:
    """Each of the sessions made so many steps, all in the SLO, in a window of a minute. None ended."""
    zeros, turns = [0] * sessions, range(sessions)
    samples = Samples(
        60.0,
        closed=True,
        sessions=[f"s{number}" for number in turns],
        kinds=["made"] * sessions,
        present_s=[60.0] * sessions,
        steps=[steps] * sessions,
        prompt_tokens=zeros,
        cached_tokens=zeros,
        recomputed_s=[0.0] * sessions,
        turn_sessions=list(turns),
        ttft_s=[float(steps)] * sessions,
        in_time=[1] * sessions,
        first=[int(number < 2) for number in turns],
        turn_prompt_tokens=[50] * sessions,
        tpot_s=[None] * sessions,
    )
    return Evidence(metrics_of([samples]), samples, [], [], [])


RUNS = {
    "vllm-tuned": [run(1), run(1), run(4)],
    "augserve": [run(3), run(3), run(12)],
    "vllm-unbounded": [run(6), run(6)],
}


def test_own_figures_are_over_all_runs_and_a_ratio_over_the_runs_of_both() -> None:
    cells = row_cells(RUNS, seed=1)
    ours = cells["augserve"]
    assert ours["steps_per_minute"] == pytest.approx(40 * (3 + 3 + 12) / 3)
    assert ours["steps_over_vllm-tuned"] == pytest.approx(3.0)
    assert ours["steps_over_vllm-unbounded"] == pytest.approx(0.5)  # over the first two runs
    assert ours["steps_over_vllm-tuned_low"] == pytest.approx(3.0)
    assert cells["vllm-unbounded"]["steps_over_vllm-tuned"] == pytest.approx(6.0)
    assert {policy: cell["seeds"] for policy, cell in cells.items()} == {
        "vllm-tuned": 3,
        "augserve": 3,
        "vllm-unbounded": 2,
    }


def test_a_metric_that_no_session_has_gives_no_ratio() -> None:
    ours = row_cells(RUNS, seed=1)["augserve"]
    assert "session_time_mean_s" not in ours
    assert not any(name.startswith("session_time_over") for name in ours)


def test_the_table_has_a_row_a_policy_with_intervals_and_the_static_setting() -> None:
    text = sessions_markdown(
        [SceneResult("w on p", {"vllm-tuned": {"vllm@1024x8": 9.0}}, {16: row_cells(RUNS, seed=1)})]
    )
    assert "## w on p" in text
    assert "vllm@1024x8" in text
    (row,) = [line for line in text.splitlines() if "| augserve" in line]
    assert "3.00 [3.00–3.00]" in row
    assert "0.50 [0.50–0.50]" in row
