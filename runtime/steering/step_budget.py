"""Sets the token budget of each step on vLLM's scheduler."""

from .. import vllm_compat
from ..engine import Engine
from ..queueing.ordering import Ordering
from .token_budget import TokenBudget


class StepBudget:
    """Leaves each step the budget that vLLM was started with."""

    def before_step(self) -> None:
        """Set the budget of the next step."""

    def step_ended(self, step_s: float, prefill_tokens: int, decodes: int) -> None:
        """Note a finished step: its time, its prompt tokens, and how many requests decoded in it."""

    def restore(self) -> None:
        """Set the configured budget again."""


class SteeredBudget(StepBudget):
    """The budget of a controller that is fed with the measured step times; shadow mode only reports it."""

    def __init__(self, controller: TokenBudget, engine: Engine, ordering: Ordering) -> None:
        self._controller = controller
        self._engine = engine
        self._ordering = ordering
        self._configured = vllm_compat.token_budget(engine.scheduler)
        self._tokens_each = vllm_compat.tokens_per_decode(engine.scheduler)

    def before_step(self) -> None:
        scheduler = self._engine.scheduler
        late_s = self._ordering.late_s(self._engine.clock())
        tokens = self._controller.tokens(vllm_compat.decoding(scheduler), self._tokens_each, late_s)
        if vllm_compat.needs_whole_prompts(scheduler):
            tokens = self._configured
        self._engine.metrics.token_budget.set(tokens)
        if self._engine.active:
            vllm_compat.set_token_budget(scheduler, tokens, self._configured)

    def step_ended(self, step_s: float, prefill_tokens: int, decodes: int) -> None:
        self._controller.measured(step_s, prefill_tokens, decodes)

    def restore(self) -> None:
        vllm_compat.set_token_budget(self._engine.scheduler, self._configured, self._configured)
