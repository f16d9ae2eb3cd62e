"""vLLM's scheduler with a hook that subclasses may override without knowing its internals."""

from .names import AsyncScheduler, Request


class HookedScheduler(AsyncScheduler):
    def before_free(self, request: Request) -> None:
        """Called when a request has ended and still owns its blocks. Must not raise."""

    def _free_blocks(self, request: Request) -> None:
        self.before_free(request)
        super()._free_blocks(request)
