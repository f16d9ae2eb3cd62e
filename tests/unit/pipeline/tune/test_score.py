import pytest

from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.tune.score import Baseline, Scenario, Score, scenarios_of, stock_scenarios

LIGHT = {"effective_throughput": 40.0, "throughput": 42.0, "longest_wait_s": 0.3}
UNIT = {"effective_throughput": 50.0, "throughput": 60.0, "longest_wait_s": 0.5}
OVERLOADED = {"effective_throughput": 0.0, "throughput": 40.0, "longest_wait_s": 25.0}


@pytest.fixture
def params(searching):
    return searching.PARAMS.changed(loads=(2.0, 0.7))


@pytest.fixture
def baseline(params):
    stock = {Scenario(MIX, 0.7, 0): LIGHT, Scenario(MIX, 1.0, 0): UNIT, Scenario(MIX, 2.0, 0): OVERLOADED}
    return Baseline(params, 60.0, stock)


def test_scenarios_come_in_the_declared_order_of_the_loads_seed_by_seed(params):
    scenarios = scenarios_of(params.changed(seeds=2))
    assert [(scenario.load, scenario.seed) for scenario in scenarios] == [(2.0, 0), (0.7, 0), (2.0, 1), (0.7, 1)]


def test_stock_vllm_runs_at_load_one_too(params):
    assert [scenario.load for scenario in stock_scenarios(params)] == [0.7, 1.0, 2.0]


def test_a_load_is_compared_with_stock_vllm_at_that_load(baseline):
    assert baseline.ratio(Scenario(MIX, 0.7, 0), LIGHT) == 1.0


def test_where_stock_vllm_has_collapsed_its_best_load_below_counts(baseline):
    assert baseline.ratio(Scenario(MIX, 2.0, 0), LIGHT | {"effective_throughput": 75.0}) == 1.5


def test_a_swing_comes_last_and_is_compared_with_the_best_load_of_the_steady_mix(params, baseline):
    params = params.changed(workloads=(MIX, MIX_SWING), swing_load=1.5)
    swing = Scenario(MIX_SWING, 1.5, 0)
    assert scenarios_of(params) == [Scenario(MIX, 2.0, 0), Scenario(MIX, 0.7, 0), swing]
    assert stock_scenarios(params)[-1] == swing
    stock = Baseline(params, 60.0, {**baseline.stock, swing: LIGHT | {"effective_throughput": 5.0}})
    assert stock.ratio(swing, LIGHT | {"effective_throughput": 75.0}) == 1.5  # of 50 at 1x, not of 5 in the swing


def test_a_baseline_without_goodput_is_an_error(params):
    nothing = Baseline(params, 60.0, dict.fromkeys(stock_scenarios(params), OVERLOADED))
    with pytest.raises(StageError, match="augmentation-mix up to load 2"):
        nothing.ratio(Scenario(MIX, 2.0, 0), LIGHT)


@pytest.mark.parametrize(
    ("load", "change", "violated"),
    [
        (0.7, {}, set()),
        (0.7, {"effective_throughput": 39.5}, {"goodput"}),
        (0.7, {"throughput": 41.0}, {"throughput"}),
        (0.7, {"longest_wait_s": 5.1}, {"longest_wait"}),
        (0.7, {"effective_throughput": 39.7, "throughput": 41.5, "longest_wait_s": 4.9}, set()),
        (2.0, {"longest_wait_s": 45.0}, set()),  # stock vLLM exceeds it: the bound of the settings counts
        (2.0, {"longest_wait_s": 67.0}, {"longest_wait"}),
        (2.0, {"effective_throughput": 0.0}, set()),  # stock vLLM has none
        (2.0, {"throughput": 39.0}, {"throughput"}),
    ],
)
def test_a_constraint_is_violated_beyond_its_bound(baseline, load, change, violated):
    found = baseline.violations(Scenario(MIX, load, 0), LIGHT | change)
    assert {name for name, value in found.items() if value > 0} == violated


def test_the_worst_simulation_decides_each_constraint(baseline):
    score = Score(baseline)
    score.add(Scenario(MIX, 2.0, 0), LIGHT | {"effective_throughput": 100.0})
    assert (score.mean, score.feasible, score.penalised) == (2.0, True, 2.0)
    score.add(Scenario(MIX, 0.7, 0), LIGHT | {"effective_throughput": 20.0, "longest_wait_s": 99.0})
    assert score.mean == 1.25
    assert score.violations["goodput"] == pytest.approx(0.49)
    assert score.violations["longest_wait"] > 1
    assert score.penalised == pytest.approx(1.25 - 0.49 - 1)
    assert not score.feasible
    assert score.longest_wait_s == 99.0
