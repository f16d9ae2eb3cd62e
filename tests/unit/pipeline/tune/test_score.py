import dataclasses

import pytest

from augserve.data.workload.mix import MIX
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.tune.score import Baseline, Scenario, Score

LIGHT = {"effective_throughput": 40.0, "throughput": 42.0, "longest_wait_s": 0.3}
OVERLOADED = {"effective_throughput": 0.0, "throughput": 40.0, "longest_wait_s": 25.0}
RIVAL = {"effective_throughput": 50.0, "throughput": 45.0, "longest_wait_s": 80.0}
CALM, FULL = Scenario(MIX, "p", 0.7, None, 0), Scenario(MIX, "p", 2.0, None, 0)
AGENTS = Scenario("coding-agents", "p", None, 24, 0)


@pytest.fixture
def baseline(searching):
    full = {"vllm": OVERLOADED, "uncached-first@1024": RIVAL}
    return Baseline(searching.LIMITS, {CALM: {"vllm": LIGHT}, FULL: full, AGENTS: full})


def test_a_trial_is_compared_with_the_best_rival(baseline):
    assert baseline.ratio(CALM, LIGHT) == 1.0
    assert baseline.ratio(FULL, LIGHT) == 0.8


def test_scenarios_without_a_rival_that_has_goodput_are_an_error(searching):
    nothing = Baseline(searching.LIMITS, {FULL: {"vllm": OVERLOADED}})
    with pytest.raises(StageError, match="augmentation-mix_p_load2"):
        nothing.ratio(FULL, LIGHT)


@pytest.mark.parametrize(
    ("scenario", "change", "violated"),
    [
        (CALM, {}, set()),
        (CALM, {"effective_throughput": 39.5}, {"goodput"}),
        (CALM, {"throughput": 41.0}, {"throughput"}),
        (CALM, {"longest_wait_s": 5.1}, {"longest_wait"}),
        (CALM, {"effective_throughput": 39.7, "throughput": 41.5, "longest_wait_s": 4.9}, set()),
        (FULL, {"longest_wait_s": 85.0}, set()),  # stock vLLM exceeds the limit: the longest rival counts
        (FULL, {"longest_wait_s": 89.0}, {"longest_wait"}),
        (FULL, {"effective_throughput": 0.0}, set()),  # stock vLLM has none
        (FULL, {"throughput": 39.0}, {"throughput"}),
        (AGENTS, {"longest_wait_s": 159.0}, set()),  # twice that of the longest rival
        (AGENTS, {"longest_wait_s": 161.0}, {"longest_wait"}),
    ],
)
def test_a_constraint_is_violated_beyond_its_bound(baseline, scenario, change, violated):
    found = baseline.violations({scenario: LIGHT | change})
    assert {name for name, value in found.items() if value > 0} == violated


def test_the_longest_waits_of_all_seeds_are_compared_and_the_goodput_of_each(searching):
    seeds = [dataclasses.replace(AGENTS, seed=seed) for seed in range(2)]
    waits_s = zip(seeds, (20.0, 90.0), strict=True)
    rivals = {seed: {"vllm": LIGHT | {"longest_wait_s": wait_s}} for seed, wait_s in waits_s}
    score = Score(Baseline(searching.LIMITS, rivals))
    score.add(seeds[0], LIGHT | {"longest_wait_s": 179.0})
    assert set(_violated(score)) == {"longest_wait"}
    score.add(seeds[1], LIGHT | {"longest_wait_s": 10.0})
    assert not _violated(score)
    score.add(seeds[1], LIGHT | {"longest_wait_s": 181.0, "effective_throughput": 39.0})
    assert set(_violated(score)) == {"goodput", "longest_wait"}
    assert score.by_load == {AGENTS.name: pytest.approx((39 / 40) ** 0.5)}


def _violated(score):
    return [name for name, value in score.violations.items() if value > 0]


def test_the_score_is_the_geometric_mean_and_the_worst_simulation_decides_each_constraint(baseline):
    score = Score(baseline)
    score.add(FULL, LIGHT | {"effective_throughput": 100.0})
    assert (score.mean, score.feasible, score.penalised) == (pytest.approx(2.0), True, pytest.approx(2.0))
    score.add(CALM, LIGHT | {"effective_throughput": 20.0, "longest_wait_s": 99.0})
    assert score.mean == pytest.approx(1.0)  # twice and half
    assert score.violations["goodput"] == pytest.approx(0.49)
    assert score.violations["longest_wait"] > 1
    assert score.penalised == pytest.approx(1.0 - 0.49 - 1)
    assert not score.feasible
    assert score.longest_wait_s == 99.0


def test_names_of_scenarios_differ_in_everything(searching):
    changed = (CALM, FULL, AGENTS, Scenario(MIX, "q", 2.0, None, 0), Scenario(MIX, "p", 2.0, None, 1))
    assert len({scenario.name for scenario in changed}) == 5
