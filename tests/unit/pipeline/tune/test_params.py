import pytest

from augserve.data.workload.mix import MIX, MIX_SWING
from augserve.pipeline.project.params import load_params
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.tune.params import PlannedLoad, TuneParams, load_tune_params


def test_scenarios_come_in_the_declared_order_seed_by_seed(searching):
    planned = searching.PARAMS.changed(seeds=2).planned()
    assert [(each.load, each.agents, each.seed) for each in planned] == [
        (2.0, None, 0), (1.0, None, 0), (None, 3, 0), (2.0, None, 1), (1.0, None, 1), (None, 3, 1),
    ]  # fmt: skip


def test_a_closed_loop_has_rivals_and_a_schedule_of_its_own(searching):
    params, (loaded, _, agents) = searching.PARAMS, searching.PARAMS.planned()
    assert params.rivals_of(loaded) == ("vllm", "uncached-first@1024")
    assert params.rivals_of(agents) == ("vllm", "session-limit@sessions=2")
    assert (params.schedule(loaded), params.schedule(agents)) == (Schedule(2.0, 4.0, 1.0), Schedule(5.0, 7.0, 1.0))
    assert params.schedule(agents, short=True) == Schedule(3.0, 4.0, 1.0)
    assert params.schedule(loaded, short=True) == Schedule(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 0},
        {"capacity_low": 20.0},
        {"window_s": 0.0},
        {"processes": 0},
        {"screened": 0},
        {"finalists": 0},
        {"scenarios": ()},
        {"scenarios": ({"workload": "none", "profile": "p", "load": 1.0},)},
        {"scenarios": ({"workload": MIX, "profile": "p"},)},
        {"scenarios": ({"workload": MIX, "profile": "p", "load": 1.0, "agents": 3},)},
        {"scenarios": (PlannedLoad(workload=MIX_SWING, profile="p", load=1.5),)},
        {"open_rivals": ("uncached-first",)},
        {"closed_rivals": ("vllm", "session-limit")},
        {"min_goodput_ratio": 1.5},
        {"candidates": 0},
        {"seeds": 0},
    ],
)
def test_a_parameter_out_of_range_is_named(searching, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        searching.PARAMS.changed(**change)


def test_the_sections_of_the_project_are_valid():
    assert load_tune_params(long=True).trials > load_params(TuneParams).trials
