"""vLLM's scheduler with hooks that subclasses may override without knowing its internals."""

from typing import Any

from .names import AsyncScheduler, Request, SamplingType, SchedulerStats


class HookedScheduler(AsyncScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seeded: dict[str, Request] = {}
        """Live requests of which an input asks for a seed, by id; a streaming session takes it over with that input."""

    def add_request(self, request: Request) -> None:
        super().add_request(request)
        live = self.requests.get(request.request_id)  # none where the last input of a streaming session has ended it
        if live is not None and draws_by_seed(request):
            self.seeded[request.request_id] = live

    def usage_of_requests(self, usage: float) -> float:
        """The usage of the KV cache, 0 to 1, that vLLM reports; `usage` is its own count. Must not raise."""
        return usage

    def make_stats(self, *args: Any, **kwargs: Any) -> SchedulerStats | None:
        stats: SchedulerStats | None = super().make_stats(*args, **kwargs)
        if stats is not None:
            stats.kv_cache_usage = self.usage_of_requests(stats.kv_cache_usage)
        return stats

    def get_kv_cache_usage(self) -> float:
        """Older releases of vLLM do not call it."""
        return self.usage_of_requests(super().get_kv_cache_usage())

    def before_free(self, request: Request) -> None:
        """Called when a request has ended and still owns its blocks. Must not raise."""

    def _free_blocks(self, request: Request) -> None:
        self.seeded.pop(request.request_id, None)
        self.before_free(request)
        super()._free_blocks(request)


def draws_by_seed(request: Request) -> bool:
    parameters = request.sampling_params
    return parameters is not None and parameters.sampling_type == SamplingType.RANDOM_SEED
