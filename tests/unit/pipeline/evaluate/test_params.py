import json

import pytest

from augserve.data.workload.schedule import SWING
from augserve.pipeline.evaluate.run import EvaluateParams, with_own
from augserve.pipeline.project.own_workloads import OwnWorkload
from augserve.pipeline.project.params import ParamsError, load_params
from augserve.pipeline.simulator.cells.cell import workload_names
from experiments.compare import CompareParams

from .comparing import PARAMS, SWINGING


@pytest.mark.parametrize(
    "change",
    [
        {"loads": (1.0, -1.0)},
        {"loads": ()},
        {"policies": ("augserve",)},
        {"policies": ("vllm", "fifo")},
        {"capacity_policies": ("augserve",)},
        {"workloads": ("none",)},
        {"window_s": 0.0},
        {"processes": 0},
        {"ablations": ("augserve-no-engine",)},
        {"oracles": ("vllm-oracle",)},
        {"oracles": ("sjf",)},
        {"static_loads": (0.0,)},
        {"static": {"budgets": (1024, 0)}},
        {"static_agents": 0},
        {"seeds": 0},
        {"capacity_within": 0.0},
        {"target_loads": (0.0,)},
        {"swing_load": 0.0},
        {"swing_window_s": -1.0},
        {"agents": ()},
        {"agents": (8, 0)},
        {"agent_workloads": ("none",)},
        {"agent_workloads": ("public/claude-code-swe",)},  # it may be absent, so that none would be left
        {"agent_policies": ("augserve",)},
        {"agent_policies": ("vllm", "vllm-best")},
        {"agent_seeds": 0},
        {"agent_window_s": 0.0},
        {"pause_cap_s": -1.0},
    ],
)
def test_a_parameter_out_of_range_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        PARAMS.changed(**change)


def test_an_error_names_the_section(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"compare": PARAMS.model_dump() | {"loads": []}}))
    with pytest.raises(ParamsError, match=r"compare\.loads"):
        load_params(CompareParams, path)


@pytest.mark.parametrize(("key", "name"), [("policies", "fifo"), ("workloads", "none")])
def test_an_unknown_policy_or_workload_is_named_in_one_line(tmp_path, key, name):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"evaluate": PARAMS.model_dump() | {key: ["vllm", name]}}))
    with pytest.raises(ParamsError, match=name) as error:
        load_params(EvaluateParams, path)
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_ablations_and_oracles_run_at_the_highest_load_only():
    params = PARAMS.changed(ablations=("augserve-no-context",), oracles=("sjf-oracle",))
    assert params.policies_at("augmentation-mix", 1.0) == ("vllm", "augserve")
    assert params.policies_at("augmentation-mix", 2.0) == ("vllm", "augserve", "sjf-oracle", "augserve-no-context")


def test_the_policies_of_a_workload_are_those_of_its_loads_and_of_the_search_for_its_capacity():
    params = PARAMS.changed(ablations=("augserve-no-context",), capacity_policies=("vllm", "mars-tuned"))
    assert params.policies_of("augmentation-mix") == ["vllm", "augserve", "augserve-no-context", "mars-tuned"]


def test_a_swing_needs_stock_vllm():
    with pytest.raises(ValueError, match="swing_policies"):
        SWINGING.changed(swing_policies=("augserve",))
    PARAMS.changed(swing_policies=())  # no swing runs


def test_a_mean_load_of_165_swings_from_03_to_3():
    assert SWING.bounds(1.65) == pytest.approx((0.3, 3.0))


def test_a_public_set_that_is_not_here_is_left_out():
    params = PARAMS.changed(agent_workloads=("public/claude-code-swe", "mixed"))
    here = "public/claude-code-swe" in workload_names()
    assert params.present_agent_workloads == (["public/claude-code-swe"] if here else []) + ["mixed"]


def test_the_section_of_the_project_is_valid():
    assert load_params(EvaluateParams).agents


def test_own_workloads_run_beside_the_others_with_as_many_agents_as_recorded():
    own = with_own(PARAMS, [OwnWorkload("mixed", 3)])
    assert (own.agent_workloads, own.agents) == (("mixed", "coding-agents"), (2, 3, 4))
    assert with_own(PARAMS, []) is PARAMS
