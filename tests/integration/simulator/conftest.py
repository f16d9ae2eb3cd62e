import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from augserve.data.workload.mix import augmentation_sessions
from augserve.data.workload.model import Session
from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.runtime import AugServeScheduler


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


def fitting_sessions(count: int, rate_per_s: float, seed: int) -> tuple[Session, ...]:
    """Of so many sessions of the mix those that a context of 8192 tokens holds."""
    return tuple(
        session
        for session in augmentation_sessions(count, rate_per_s, seed)
        if session.prompt_tokens(len(session.turns) - 1) < 7000
    )


def check_nothing_left(scheduler: AsyncScheduler) -> None:
    """No request, and every block free but those of paused sessions."""
    if isinstance(scheduler, AugServeScheduler) and scheduler.decisions is not None:
        scheduler.decisions.contexts.release_all()
    pool = scheduler.kv_cache_manager.block_pool
    assert pool.get_num_free_blocks() == pool.num_gpu_blocks - 1  # one is vLLM's null block
    assert not any((scheduler.requests, scheduler.running, len(scheduler.waiting), scheduler.kv_holding_waiting))
