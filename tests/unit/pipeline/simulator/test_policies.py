import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.catalogue import (
    SIMULATED,
    STATIC_BUDGETS,
    STATIC_SEQUENCES,
    static_augserve,
    static_vllm,
)
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits

GRID = [(budget, count) for budget in STATIC_BUDGETS for count in STATIC_SEQUENCES if count <= budget]


@pytest.fixture
def bench() -> PolicyInputs:
    return PolicyInputs(EngineLimits(16_384, 8192, 256, 8192), SchedulerSettings(), None, (), VirtualClock())


@pytest.mark.parametrize("name", SIMULATED)
def test_a_policy_needs_a_predictor_exactly_if_the_catalogue_says_so(name: str, bench: PolicyInputs) -> None:
    if SIMULATED[name].needs_models:
        with pytest.raises(SimulationError, match=name):
            build_policy(name, bench)
    else:
        build_policy(name, bench).shutdown()


def test_the_name_of_a_static_configuration_sets_the_engine_limits(bench: PolicyInputs) -> None:
    scheduler = build_policy("vllm@2048x64", bench)
    assert (scheduler.max_num_scheduled_tokens, scheduler.max_num_running_reqs) == (2048, 64)
    scheduler.shutdown()


@pytest.mark.parametrize(("budget", "sequences"), GRID)
def test_every_configuration_of_the_grid_can_be_built(budget: int, sequences: int, bench: PolicyInputs) -> None:
    build_policy(static_vllm(budget, sequences), bench).shutdown()


@pytest.mark.parametrize("name", [static_vllm(64, 128), static_augserve(64)])
def test_more_sequences_than_tokens_are_refused(name: str, bench: PolicyInputs) -> None:
    with pytest.raises(SimulationError, match=name):
        build_policy(name, bench)
