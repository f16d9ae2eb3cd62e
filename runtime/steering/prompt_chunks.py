"""The most prompt tokens that one request computes in a step, so that short prompts need not wait behind a heavy one.

vLLM computes running prompts before waiting ones. Without a limit, one heavy prompt takes every step until it is done,
and a turn that needs a hundred tokens waits for seconds.
"""

import numpy as np

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..engine import Engine
from ..queueing.value import Column, Floats, heavy
from ..queueing.waiting_queue import WaitingQueue
from .token_budget import LEAST_PREFILL


def fair_share(tokens: Floats, capacity: float) -> float:
    """The level up to which each of the `tokens`, shape (n,), is served if `capacity` is shared out max-min fairly:
    Σ min(level, tokens) = capacity. Infinite if all of them fit."""
    if tokens.sum() <= capacity:
        return float("inf")
    ordered = np.sort(tokens)
    served = np.concatenate(([0.0], np.cumsum(ordered)[:-1]))  # by the smaller ones
    levels = (capacity - served) / np.arange(len(ordered), 0, -1)
    return float(levels[np.argmax(levels < ordered)])


def most_each(budget: int, running: Floats, waiting: Floats, running_share: float) -> int:
    """Most prompt tokens of one request in a step that computes `budget` prompt tokens; 0: no limit.

    The longest running prompt shares the step fairly with the shorter prompts that run or wait, and the running ones
    keep `running_share` of it. Where the shorter ones together are longer, none waits only for the longest: they are a
    backlog, and to share would make more turns late. Then only the tokens of decodes are left free.

    Args:
        running: tokens that each running prompt still lacks, shape (n,); at least one.
        waiting: the same of the prompts that vLLM may admit, shape (n,).
    """
    longest = running.max()
    prompts = np.concatenate((running, waiting[waiting < longest]))
    if prompts.sum() > 2 * longest:
        return max(budget, LEAST_PREFILL)
    level = max(fair_share(prompts, budget), fair_share(running, budget * running_share))
    return 0 if level == float("inf") else max(int(level), LEAST_PREFILL)


class PromptChunks:
    """Sets the limit before each step, after the waiting turns are ordered. A limit that vLLM was started with holds
    too.

    Prompts that are not heavy follow one another: to share among many of them would make all of them late. None takes
    the tokens of decodes, which vLLM may schedule after it.
    """

    def __init__(self, settings: SchedulerSettings, engine: Engine, queue: WaitingQueue) -> None:
        self._settings = settings
        self._engine = engine
        self._queue = queue
        self._configured = vllm_compat.chunk_limit(engine.scheduler)
        self._tokens_each = vllm_compat.tokens_per_decode(engine.scheduler)

    def before_step(self) -> None:
        scheduler = self._engine.scheduler
        prompts = vllm_compat.running_prompts(scheduler)
        shares = prompts and not vllm_compat.needs_whole_prompts(scheduler)
        limits = [self._configured, self._limit(prompts)] if shares else [self._configured]
        vllm_compat.set_chunk_limit(scheduler, min(filter(None, limits), default=0))

    def restore(self) -> None:
        """Set the configured limit again."""
        vllm_compat.set_chunk_limit(self._engine.scheduler, self._configured)

    def _limit(self, prompts: list[tuple[int, int]]) -> int:
        settings, scheduler = self._settings, self._engine.scheduler
        decodes = vllm_compat.running_count(scheduler) - len(prompts)
        budget = vllm_compat.token_budget(scheduler) - decodes * self._tokens_each
        left, tokens = np.array(prompts, float).T
        if not heavy(settings, left, tokens).any():
            return max(budget, LEAST_PREFILL)
        waiting = self._queue.columns[Column.UNCACHED_TOKENS, self._queue.offered]
        return most_each(budget, left, waiting, settings.budget.running_share)
