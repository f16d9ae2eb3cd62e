import dataclasses

import pytest

from augserve.data.workload.mix import MIX
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.project import paths
from augserve.pipeline.project.own_workloads import OwnWorkload
from augserve.pipeline.tune.own import LEAST_RECOMPUTING, deciding, deployed_profile, with_own
from augserve.pipeline.tune.score import Baseline
from augserve.pipeline.tune.simulations import TuningSimulations

from ..step_times.recording import FLAT


def test_own_workloads_come_first_in_a_trial(searching):
    own = with_own(searching.PARAMS, [OwnWorkload(MIX, 5)])
    assert [(each.workload, each.profile, each.agents) for each in own.scenarios][:2] == [
        (MIX, "p", 5),
        (MIX, "p", None),
    ]
    assert with_own(searching.PARAMS, []) == searching.PARAMS


def test_an_own_workload_runs_on_its_own_engine_where_that_is_known(searching):
    own = with_own(searching.PARAMS, [OwnWorkload(MIX, 5, "mine")])
    assert [each.profile for each in own.scenarios][:2] == ["mine", "p"]


@pytest.mark.parametrize(
    ("profiles", "deployed"), [([], "p"), ([None], "p"), (["mine"], "mine"), ([None, "second", "third"], "second")]
)
def test_settings_are_for_the_first_engine_that_was_recorded(searching, profiles, deployed):
    assert deployed_profile(searching.PARAMS, [OwnWorkload(MIX, 5, profile) for profile in profiles]) == deployed


def test_every_engine_has_its_own_step_times_in_the_settings(searching, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    times = {"own-engine": StepTime(base_s=0.03), "other-engine": StepTime(base_s=0.01)}
    for name, linear in times.items():
        dataclasses.replace(FLAT, name=name, linear=linear).save(paths.PROFILES / f"{name}.json")
    params = with_own(searching.PARAMS.changed(profile="other-engine"), [OwnWorkload(MIX, 5, "own-engine")])
    settings = SchedulerSettings(step_time=times["own-engine"], profile="own-engine")
    simulations = TuningSimulations(params, 1, (0.1, 0.2), lambda cell: None)
    mine, *_ = params.planned()
    other = dataclasses.replace(mine, profile="other-engine")
    for scenario in (mine, other):
        cell = simulations.cell(scenario, None, "augserve", settings)
        assert (cell.profile.stem, cell.settings.profile) == (scenario.profile, scenario.profile)
        assert cell.settings.step_time == times[scenario.profile]


OWN = [OwnWorkload("coding-agents", 3)]


def baseline_of(searching, **of_own):
    """Stock vLLM alone ran, with these metrics in the closed loop."""
    stock = searching.STOCK | {"recompute_share": 0.2}
    return Baseline(
        searching.LIMITS,
        {
            scenario: {"vllm": stock | (of_own if scenario.workload == "coding-agents" else {})}
            for scenario in searching.PARAMS.planned()
        },
    )


@pytest.mark.parametrize(("share", "said"), [(0.0, 1), (0.9 * LEAST_RECOMPUTING, 1), (0.2, 0)])
def test_a_workload_whose_contexts_all_fit_is_one_line(searching, share, said):
    params, lines = deciding(searching.PARAMS, OWN, baseline_of(searching, recompute_share=share))
    assert params == searching.PARAMS
    assert len(lines) == said
    assert all("coding-agents" in line and "built-in workloads" in line and "\n" not in line for line in lines)


def test_a_workload_in_which_no_policy_has_goodput_is_left_out_with_one_line(searching):
    params, (line,) = deciding(searching.PARAMS, OWN, baseline_of(searching, effective_throughput=0.0))
    assert [each.workload for each in params.scenarios] == [MIX, MIX]
    assert "coding-agents" in line
    assert "\n" not in line
