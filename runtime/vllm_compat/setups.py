"""How vLLM was started: what AugServe refuses, because answers would be wrong, and what it must know."""

from collections.abc import Iterator

from .names import AsyncScheduler
from .supported import UnsupportedVllmError


def check_setup(scheduler: AsyncScheduler) -> None:
    """Check how vLLM was started. Raises UnsupportedVllmError."""
    for refusal in _refusals(scheduler):
        raise UnsupportedVllmError(f"{refusal} or start vLLM without --scheduler-cls")


def _refusals(scheduler: AsyncScheduler) -> Iterator[str]:
    """AugServe is a subclass of AsyncScheduler, which these setups do not use."""
    stages = scheduler.parallel_config.pipeline_parallel_size
    if stages > 1 and not scheduler.scheduler_config.async_scheduling:
        yield (
            f"pipeline parallelism of size {stages} without asynchronous scheduling is not supported: "
            "a decode would be scheduled before its input token is known; set VLLM_USE_V2_MODEL_RUNNER=1,"
        )
    if getattr(scheduler.vllm_config.model_config, "is_diffusion", False):  # the oldest releases have no such models
        yield "diffusion models are not supported: they need vLLM's own DiffusionScheduler; serve another model,"


def splits_sessions(scheduler: AsyncScheduler) -> bool:
    """Whether vLLM may send the turns of one session to different engines, by their load.

    The first of several engines of a dense model cannot tell; the others can, and one that refuses stops the server.
    """
    parallel = scheduler.parallel_config
    several = parallel.data_parallel_size > 1 or parallel.data_parallel_index > 0
    return several and not parallel.data_parallel_external_lb
