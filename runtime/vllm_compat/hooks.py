"""vLLM's scheduler with a hook where it has none that a subclass may override without knowing its insides."""

from .names import AsyncScheduler, Request


class HookedScheduler(AsyncScheduler):
    def before_free(self, request: Request) -> None:
        """Called as a request has ended, while its blocks are still its own. Must not raise."""

    def _free_blocks(self, request: Request) -> None:
        self.before_free(request)
        super()._free_blocks(request)
