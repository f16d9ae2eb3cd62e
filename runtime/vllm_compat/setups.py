"""How vLLM was started: what AugServe refuses, because answers would be wrong, and what it must know."""

from collections.abc import Iterator

from .names import VllmConfig
from .supported import UnsupportedVllmError


def check_setup(config: VllmConfig) -> None:
    """Check how vLLM is started. Raises UnsupportedVllmError."""
    for refusal in _refusals(config):
        raise UnsupportedVllmError(f"{refusal} or start vLLM without --scheduler-cls")


def _refusals(config: VllmConfig) -> Iterator[str]:
    """AugServe is a subclass of AsyncScheduler, which these setups do not use."""
    if is_synchronous_pipeline(config):
        yield (
            f"pipeline parallelism of size {config.parallel_config.pipeline_parallel_size} without asynchronous "
            "scheduling is not supported: a decode would be scheduled before its input token is known; "
            "set VLLM_USE_V2_MODEL_RUNNER=1,"
        )
    if is_diffusion(config):
        yield "diffusion models are not supported: they need vLLM's own DiffusionScheduler; serve another model,"


def is_synchronous_pipeline(config: VllmConfig) -> bool:
    return config.parallel_config.pipeline_parallel_size > 1 and not config.scheduler_config.async_scheduling


def is_diffusion(config: VllmConfig) -> bool:
    return bool(getattr(config.model_config, "is_diffusion", False))  # the oldest releases have no such models


def api_servers(config: VllmConfig) -> int:
    """How many API servers share an engine: `--api-server-count`."""
    return int(getattr(config.parallel_config, "_api_process_count", 1))


def splits_sessions(config: VllmConfig) -> bool:
    """Whether vLLM may send the turns of one session to different engines, by their load.

    The first of several engines of a dense model cannot tell; the others can, and one that refuses stops the server.
    """
    parallel = config.parallel_config
    several = parallel.data_parallel_size > 1 or parallel.data_parallel_index > 0
    return several and not parallel.data_parallel_external_lb
