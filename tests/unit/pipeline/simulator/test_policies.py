import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.catalogue import SIMULATED
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits


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


def test_the_name_of_a_policy_sets_the_limits_of_the_engine(bench: PolicyInputs) -> None:
    scheduler = build_policy("uncached-first@2048x64,prefill=512,watermark=0.05", bench)
    config = scheduler.scheduler_config
    assert (scheduler.max_num_scheduled_tokens, scheduler.max_num_running_reqs) == (2048, 64)
    assert (config.long_prefill_token_threshold, config.watermark) == (512, 0.05)
    assert not config.long_prefill_token_threshold_adaptive
    scheduler.shutdown()


def test_an_adaptive_limit_on_long_prefills_is_passed_on(bench: PolicyInputs) -> None:
    scheduler = build_policy("vllm@adaptive=256", bench)
    assert scheduler.scheduler_config.long_prefill_token_threshold == 256
    assert scheduler.scheduler_config.long_prefill_token_threshold_adaptive
    scheduler.shutdown()


def test_a_small_budget_alone_lowers_the_limit_on_sequences(bench: PolicyInputs) -> None:
    scheduler = build_policy("vllm@64", bench)
    assert scheduler.max_num_running_reqs == 64
    scheduler.shutdown()


@pytest.mark.parametrize("name", ["vllm@64x128", "augserve@64x128"])
def test_more_sequences_than_tokens_are_refused(name: str, bench: PolicyInputs) -> None:
    with pytest.raises(SimulationError, match=name):
        build_policy(name, bench)
