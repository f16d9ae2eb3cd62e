"""Sets the token budget of each step on vLLM's scheduler."""

from collections.abc import Callable

from .. import vllm_compat
from ..queueing.ordering import Ordering
from ..vllm_compat import AsyncScheduler
from .token_budget import TokenBudget


class StepBudget:
    """Leaves each step the budget that vLLM was started with."""

    def before_step(self, now_s: float) -> None:
        """Set the budget of the next step."""

    def step_ended(self, step_s: float, decodes: int, now_s: float) -> None:
        """Note a finished step: its time, and how many requests decoded in it."""

    def restore(self) -> None:
        """Set the configured budget again."""


class SteeredBudget(StepBudget):
    """The budget of a controller that is fed with the measured step times."""

    def __init__(
        self,
        scheduler: AsyncScheduler,
        controller: TokenBudget,
        ordering: Ordering,
        report: Callable[[float], None],
        applied: bool,
    ) -> None:
        """`report` is called with each step's budget. `applied`: False decides it and leaves vLLM's own."""
        self._scheduler = scheduler
        self._controller = controller
        self._ordering = ordering
        self._report = report
        self._applied = applied
        self._configured = vllm_compat.token_budget(scheduler)

    def before_step(self, now_s: float) -> None:
        late_s = self._ordering.late_s(now_s) if self._controller.drains else 0.0
        tokens = self._controller.tokens(vllm_compat.decode_tokens(self._scheduler), now_s, late_s)
        self._report(tokens)
        if self._applied:
            vllm_compat.set_token_budget(self._scheduler, tokens, self._configured)

    def step_ended(self, step_s: float, decodes: int, now_s: float) -> None:
        self._controller.measured(step_s, decodes, now_s)

    def restore(self) -> None:
        vllm_compat.set_token_budget(self._scheduler, self._configured, self._configured)
