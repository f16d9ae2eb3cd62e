"""Sets the token budget of each step on vLLM's scheduler."""

from .. import vllm_compat
from ..engine import Engine
from ..queueing.ordering import Ordering
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
    """The budget of a controller that is fed with the measured step times; shadow mode only reports it."""

    def __init__(self, controller: TokenBudget, engine: Engine, ordering: Ordering) -> None:
        self._controller = controller
        self._engine = engine
        self._ordering = ordering
        self._configured = vllm_compat.token_budget(engine.scheduler)

    def before_step(self, now_s: float) -> None:
        scheduler = self._engine.scheduler
        late_s = self._ordering.late_s(now_s) if self._controller.drains else 0.0
        tokens = self._controller.tokens(vllm_compat.decode_tokens(scheduler), now_s, late_s)
        self._engine.metrics.token_budget.set(tokens)
        if self._engine.active:
            vllm_compat.set_token_budget(scheduler, tokens, self._configured)

    def step_ended(self, step_s: float, decodes: int, now_s: float) -> None:
        self._controller.measured(step_s, decodes, now_s)

    def restore(self) -> None:
        vllm_compat.set_token_budget(self._engine.scheduler, self._configured, self._configured)
