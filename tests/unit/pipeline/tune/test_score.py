import dataclasses

import pytest

from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.tune.score import Job, Tally, Yardstick, jobs_of, stock_jobs

LIGHT = {"effective_throughput": 40.0, "throughput": 42.0, "longest_wait_s": 0.3}
UNIT = {"effective_throughput": 50.0, "throughput": 60.0, "longest_wait_s": 0.5}
OVERLOADED = {"effective_throughput": 0.0, "throughput": 40.0, "longest_wait_s": 25.0}


@pytest.fixture
def params(searching):
    return dataclasses.replace(searching.PARAMS, loads=(2.0, 0.7))


@pytest.fixture
def yardstick(params):
    stock = {Job(MIX, 0.7, 0): LIGHT, Job(MIX, 1.0, 0): UNIT, Job(MIX, 2.0, 0): OVERLOADED}
    return Yardstick(params, 60.0, stock)


def test_jobs_come_in_the_declared_order_of_the_loads_seed_by_seed(params):
    jobs = jobs_of(dataclasses.replace(params, seeds=2))
    assert [(job.load, job.seed) for job in jobs] == [(2.0, 0), (0.7, 0), (2.0, 1), (0.7, 1)]


def test_stock_vllm_runs_at_load_one_too(params):
    assert [job.load for job in stock_jobs(params)] == [0.7, 1.0, 2.0]


def test_a_load_is_compared_with_stock_there(yardstick):
    assert yardstick.ratio(Job(MIX, 0.7, 0), LIGHT) == 1.0


def test_an_overload_in_which_stock_has_collapsed_is_compared_with_its_best_load_below(yardstick):
    assert yardstick.ratio(Job(MIX, 2.0, 0), LIGHT | {"effective_throughput": 75.0}) == 1.5


def test_a_swing_comes_last_and_is_compared_with_the_steady_mix_s_best(params, yardstick):
    params = dataclasses.replace(params, workloads=(MIX, MIX_SWING), swing_load=1.5)
    swing = Job(MIX_SWING, 1.5, 0)
    assert jobs_of(params) == [Job(MIX, 2.0, 0), Job(MIX, 0.7, 0), swing]
    assert stock_jobs(params)[-1] == swing
    stock = Yardstick(params, 60.0, {**yardstick.stock, swing: LIGHT | {"effective_throughput": 5.0}})
    assert stock.ratio(swing, LIGHT | {"effective_throughput": 75.0}) == 1.5  # of 50 at 1x, not of 5 in the swing


def test_a_stock_that_serves_nothing_is_one_line(params):
    nothing = Yardstick(params, 60.0, dict.fromkeys(stock_jobs(params), OVERLOADED))
    with pytest.raises(StageError, match=r"serves no turn of augmentation-mix in time up to load 2; lengthen"):
        nothing.ratio(Job(MIX, 2.0, 0), LIGHT)


@pytest.mark.parametrize(
    ("load", "change", "broken"),
    [
        (0.7, {}, set()),
        (0.7, {"effective_throughput": 39.5}, {"goodput"}),
        (0.7, {"throughput": 41.0}, {"throughput"}),
        (0.7, {"longest_wait_s": 5.1}, {"longest_wait"}),
        (0.7, {"effective_throughput": 39.7, "throughput": 41.5, "longest_wait_s": 4.9}, set()),
        (2.0, {"longest_wait_s": 45.0}, set()),  # stock vLLM does not keep it there: what the settings promise holds
        (2.0, {"longest_wait_s": 67.0}, {"longest_wait"}),
        (2.0, {"effective_throughput": 0.0}, set()),  # stock vLLM has none either
        (2.0, {"throughput": 39.0}, {"throughput"}),
    ],
)
def test_a_constraint_is_broken_beyond_its_bound(yardstick, load, change, broken):
    found = yardstick.violations(Job(MIX, load, 0), LIGHT | change)
    assert {name for name, value in found.items() if value > 0} == broken


def test_a_trial_is_as_bad_as_its_worst_simulation(yardstick):
    tally = Tally(yardstick)
    tally.add(Job(MIX, 2.0, 0), LIGHT | {"effective_throughput": 100.0})
    assert (tally.score, tally.feasible, tally.standing) == (2.0, True, 2.0)
    tally.add(Job(MIX, 0.7, 0), LIGHT | {"effective_throughput": 20.0, "longest_wait_s": 99.0})
    assert tally.score == 1.25
    assert tally.violations["goodput"] == pytest.approx(0.49)
    assert tally.violations["longest_wait"] > 1
    assert tally.standing == pytest.approx(1.25 - 0.49 - 1)
    assert not tally.feasible
    assert tally.longest_wait_s == 99.0
