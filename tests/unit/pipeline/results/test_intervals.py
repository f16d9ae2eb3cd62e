import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.results.intervals import cells_of, pooled
from augserve.pipeline.simulator.record.evidence import Evidence


def run(in_time_by_session, window_s=10.0, prefix="s"):
    """One turn list a session, 1 where the turn is in time; all waits 0.5 s in time and 2 s else."""
    turns = [(index, met) for index, of in enumerate(in_time_by_session) for met in of]
    met = sum(met for _, met in turns)
    ended = [int(all(of)) for of in in_time_by_session]
    metrics = {
        "effective_throughput": met / window_s,
        "session_effective_throughput": sum(ended) / window_s,
        "throughput": len(turns) / window_s,
        "attainment": met / len(turns),
        "ttft_mean_s": 0.0,
        "preemptions": 4.0,
        "prefix_hit_rate": 0.5,
        "unfinished": 1.0,
    }
    names = [f"{prefix}{index}" for index in range(len(in_time_by_session))]
    waits = [0.5 if met else 2.0 for _, met in turns]
    kinds = ["qa"] * len(names)
    return Evidence(
        metrics, window_s, names, kinds, ended, [i for i, _ in turns], waits, [m for _, m in turns], [], [], []
    )


sessions = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=2, max_size=20)


@given(sessions)
def test_the_interval_holds_the_value(of_sessions):
    cell = cells_of({"vllm": [run(of_sessions)]}, 1)["vllm"]
    for metric in ("effective_throughput", "attainment", "session_effective_throughput"):
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


def test_a_base_without_a_turn_in_time_gives_no_ratio():
    cells = cells_of({"vllm": [run([[0], [0]])], "augserve": [run([[1], [1]])]}, 1)
    assert not any(name.startswith("over_vllm") for name in cells["augserve"])


def test_a_base_that_a_resample_may_leave_empty_gives_no_interval():
    cells = cells_of({"vllm": [run([[1], [0], [0]])], "augserve": [run([[1], [1], [1]])]}, 1)
    assert cells["augserve"]["over_vllm"] == pytest.approx(3)
    assert "over_vllm_low" not in cells["augserve"]


def test_the_same_seed_gives_the_same_intervals():
    runs = {"vllm": [run([[1], [0], [1, 1], [0, 1]])]}
    assert cells_of(runs, 5) == cells_of(runs, 5)


def test_runs_are_pooled():
    first, second = run([[1, 1], [1]]), run([[0, 0], [0, 1, 0]])
    cell = pooled([first, second])
    assert cell["attainment"] == 4 / 8
    assert cell["effective_throughput"] == pytest.approx((0.3 + 0.1) / 2)
    assert cell["ttft_p50_s"] == pytest.approx(1.25)
    assert (cell["turns"], cell["unfinished"], cell["preemptions"]) == (8, 2, 4)


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
