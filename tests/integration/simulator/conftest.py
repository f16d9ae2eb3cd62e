import pytest

from augserve.data.mix import augmentation_sessions
from augserve.data.workload import Session
from augserve.models.settings import SchedulerSettings, StepTime
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile


@pytest.fixture(scope="session")
def profile() -> StepProfile:
    """A small, slow engine: a few sessions fill its KV cache, so that contexts are evicted and requests preempted."""
    return StepProfile(
        name="small",
        source="by hand",
        limits=EngineLimits(kv_tokens=16_384, max_model_len=16_384, max_num_seqs=32, max_num_batched_tokens=1024),
        tokens=(1, 3070),
        table_s=(0.02, 0.32),
        per_decode_s=1e-4,
        per_context_token_s=1e-7,
        linear=StepTime(0.02, 1e-4, 2e-4, 1e-7),
    )


@pytest.fixture(scope="session")
def sessions() -> tuple[Session, ...]:
    return augmentation_sessions(40, 2.0, seed=11)


@pytest.fixture(scope="session")
def settings(profile: StepProfile) -> SchedulerSettings:
    return SchedulerSettings(step_time=profile.linear, max_wait_s=30.0, profile="small")
