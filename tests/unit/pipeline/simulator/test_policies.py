import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.ablations import ABLATIONS, P_PAS_BUDGET
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.policies import (
    POLICIES,
    PREDICTING,
    Bench,
    build_policy,
    entry_of,
    predicts,
    tuned_grid,
)
from augserve.pipeline.simulator.profile import EngineLimits


@pytest.fixture
def bench() -> Bench:
    return Bench(EngineLimits(16_384, 8192, 256, 8192), SchedulerSettings(), None, (), VirtualClock())


@pytest.mark.parametrize("policy", POLICIES)
def test_exactly_the_policies_that_predict_need_a_predictor(policy: str, bench: Bench) -> None:
    if policy in PREDICTING:
        with pytest.raises(SimulationError, match="no predictor was given"):
            build_policy(policy, bench)
    else:
        build_policy(policy, bench).shutdown()


def test_every_policy_that_predicts_has_an_oracle() -> None:
    assert {f"{policy}-oracle" for policy in PREDICTING - {*ABLATIONS, P_PAS_BUDGET}} <= set(POLICIES)


def test_a_static_configuration_is_read_from_its_name(bench: Bench) -> None:
    scheduler = build_policy("vllm@2048x64", bench)
    assert scheduler.max_num_scheduled_tokens == 2048
    assert scheduler.max_num_running_reqs == 64


def test_ours_with_a_static_budget_is_read_from_its_name_and_predicts(bench: Bench) -> None:
    assert entry_of("augserve@2048") == "augserve-static-budget"
    assert predicts("augserve@2048")
    assert not predicts("vllm@2048x64")
    with pytest.raises(SimulationError, match="no predictor was given"):
        build_policy("augserve@2048", bench)


def test_every_configuration_of_the_grid_can_be_built(bench: Bench) -> None:
    names = tuned_grid()
    assert len(set(names)) == len(names) > 10
    for name in names:
        build_policy(name, bench).shutdown()


def test_a_configuration_that_vllm_refuses_is_one_line(bench: Bench) -> None:
    with pytest.raises(SimulationError, match="at least a token a sequence"):
        build_policy("vllm@64x128", bench)
    with pytest.raises(SimulationError, match="augserve@128: vLLM takes at least a token a sequence, and 256 may run"):
        build_policy("augserve@128", bench)


@pytest.mark.parametrize(
    "name", ["vllm@", "vllm@0x1", "vllm@12", "sjf@2048x256", "augserve@", "augserve@0", "augserve@1024x256", "fifo"]
)
def test_a_name_of_no_policy_is_refused(name: str, bench: Bench) -> None:
    with pytest.raises(SimulationError, match="is unknown"):
        build_policy(name, bench)
