import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.results.intervals import cells_of
from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.metrics import metrics_of
from augserve.pipeline.simulator.record.samples import Samples


def run(in_time_by_session, window_s=10.0, prefix="s"):
    """One turn list a session, 1 where the turn is in time; all waits 0.5 s in time and 2 s else. All sessions end."""
    turns = [(index, met) for index, of in enumerate(in_time_by_session) for met in of]
    count = len(in_time_by_session)
    samples = Samples(
        window_s,
        closed=False,
        sessions=[f"{prefix}{index}" for index in range(count)],
        kinds=["qa"] * count,
        present_s=[window_s] * count,
        steps=[len(of) for of in in_time_by_session],
        prompt_tokens=[100] * count,
        cached_tokens=[50] * count,
        recomputed_s=[0.0] * count,
        ended=list(range(count)),
        ended_in_time=[int(all(of)) for of in in_time_by_session],
        thirds=[-1] * count,
        session_time_s=[5.0] * count,
        serving_time_s=[1.0] * count,
        turn_sessions=[index for index, _ in turns],
        ttft_s=[0.5 if met else 2.0 for _, met in turns],
        in_time=[met for _, met in turns],
        first=[0] * len(turns),
        turn_prompt_tokens=[50] * len(turns),
        tpot_s=[0.02] * len(turns),
    )
    return Evidence(metrics_of([samples]), samples, [], [], [])


sessions = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=2, max_size=20)


@given(sessions)
def test_the_interval_holds_the_value(of_sessions):
    cell = cells_of({"vllm": [run(of_sessions)]}, 1)["vllm"]
    for metric in (
        "effective_throughput",
        "attainment",
        "session_effective_throughput",
        "ttft_p90_s",
        "prefix_hit_rate",
    ):
        assert cell[f"{metric}_low"] <= cell[metric] <= cell[f"{metric}_high"]


def test_the_interval_of_known_sessions_is_the_binomial_s():
    random = np.random.default_rng(2)
    one_turn_each = [[int(met)] for met in random.random(400) < 0.8]
    cell = cells_of({"vllm": [run(one_turn_each)]}, 1)["vllm"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (cell["attainment_high"] - cell["attainment_low"]) / 2 == pytest.approx(half, rel=0.15)


def test_turns_of_a_session_are_drawn_together():
    random = np.random.default_rng(2)
    met = [int(met) for met in random.random(100) < 0.5]
    alone = cells_of({"vllm": [run([[m] for m in met] * 4)]}, 1)["vllm"]
    together = cells_of({"vllm": [run([[m] * 4 for m in met])]}, 1)["vllm"]
    assert together["attainment"] == alone["attainment"]
    width = together["attainment_high"] - together["attainment_low"]
    assert width > 1.6 * (alone["attainment_high"] - alone["attainment_low"])


def test_paired_policies_differ_less_than_the_workload_varies():
    random = np.random.default_rng(3)
    base = [[int(met) for met in random.random(int(random.integers(1, 30))) < 0.7] for _ in range(200)]
    better = [[1] * len(of) if index % 20 == 0 else of for index, of in enumerate(base)]
    cells = cells_of({"vllm": [run(base)], "augserve": [run(better)]}, 1)
    ours = cells["augserve"]
    assert ours["over_vllm"] == ours["effective_throughput"] / cells["vllm"]["effective_throughput"]
    assert 1 < ours["over_vllm_low"] < ours["over_vllm"] < ours["over_vllm_high"]
    value = cells["vllm"]
    unpaired = (value["effective_throughput_high"] - value["effective_throughput_low"]) / value["effective_throughput"]
    assert ours["over_vllm_high"] - ours["over_vllm_low"] < unpaired / 2
    assert "over_vllm" not in value


def test_a_base_without_a_turn_in_time_gives_no_ratio_of_goodputs():
    cells = cells_of({"vllm": [run([[0], [0]])], "augserve": [run([[1], [1]])]}, 1)
    assert not any(name.startswith("over_vllm") for name in cells["augserve"])
    assert cells["augserve"]["steps_over_vllm"] == 1.0


def test_steps_are_related_over_the_same_sessions():
    """Both policies ran the same sessions; AugServe finished every second turn more."""
    base = [[1] * (1 + index % 7) for index in range(100)]
    cells = cells_of({"vllm": [run(base)], "augserve": [run([of * 2 for of in base])]}, 1)
    ours = cells["augserve"]
    assert ours["steps_over_vllm"] == ours["steps_over_vllm_low"] == ours["steps_over_vllm_high"] == 2.0
    assert ours["steps_per_minute_high"] > 1.05 * ours["steps_per_minute"]


def test_a_base_that_a_resample_may_leave_empty_gives_no_interval():
    cells = cells_of({"vllm": [run([[1], [0], [0]])], "augserve": [run([[1], [1], [1]])]}, 1)
    assert cells["augserve"]["over_vllm"] == pytest.approx(3)
    assert "over_vllm_low" not in cells["augserve"]


def test_the_same_seed_gives_the_same_intervals():
    runs = {"vllm": [run([[1], [0], [1, 1], [0, 1]])]}
    assert cells_of(runs, 5) == cells_of(runs, 5)


def test_more_runs_narrow_the_interval():
    random = np.random.default_rng(4)
    runs = [run([[int(met)] for met in random.random(100) < 0.7], prefix=f"r{n}-") for n in range(4)]
    one, four = cells_of({"vllm": runs[:1]}, 1)["vllm"], cells_of({"vllm": runs}, 1)["vllm"]
    assert four["attainment_high"] - four["attainment_low"] < 0.7 * (one["attainment_high"] - one["attainment_low"])


def test_ours_is_related_to_the_hand_set_settings_too():
    runs = {
        name: [run([[1], [0], [1, met], [1, 1]])]
        for name, met in (("vllm", 0), ("augserve-default", 0), ("augserve", 1))
    }
    cells = cells_of(runs, 1)
    assert cells["augserve"]["over_augserve-default"] == pytest.approx(5 / 4)
    assert "over_augserve-default" not in cells["vllm"]
