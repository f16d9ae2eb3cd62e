"""How long a turn would wait that arrives now, from the engine time of what waits and runs."""

import hmac

import numpy as np

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..deployment import DeploymentError
from ..engine import Engine
from ..publisher import shared_folder
from ..queueing.value import Column, prompt_s
from ..queueing.waiting_queue import Slots, WaitingQueue
from ..routing.expected_work import ExpectedWork
from .notice import ExpectedWait, NoticeWriter

LONGEST_AGE_S = 3600.0
"""Wait before its arrival that a turn is credited with, at most."""


class Backlog:
    """Tells the API server each step how long a newcomer would wait; shadow mode shows it in the metrics alone.

    Two estimates, of which the larger counts: the engine time of the turns that wait, and the longest wait so far
    (the delay at the head of the line estimates that of a newcomer; Ibrahim and Whitt, 2009). The first one is early,
    the second one holds where the model of the engine is wrong, and where turns wait for memory. Turns that are held
    for memory count too: newcomers that pass them would keep them waiting.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        engine: Engine,
        queue: WaitingQueue,
        work: ExpectedWork,
        refuse_after_s: float,
        before: "Backlog | None" = None,
    ) -> None:
        """`before`: what told the API server until now. Raises DeploymentError where the API server cannot be told."""
        self._settings = settings
        self._engine = engine
        self._queue = queue
        self._work = work
        self._turn_s = 0.0  # the last estimate
        self.writer: NoticeWriter | None = None if before is None else before.writer
        if engine.active and self.writer is None:
            self.writer = _writer(refuse_after_s)

    def tell(self, deferred: Slots, now_s: float) -> None:
        """`deferred`: slots of the turns that vLLM cannot run yet."""
        wait = self.expected(deferred, now_s)
        self._engine.metrics.expected_wait.set(wait.wait_s)
        if self.writer is not None and self._engine.active:
            self.writer.tell(wait)

    def fall_silent(self) -> None:
        """Let the API server refuse nobody, until something is told again."""
        if self.writer is not None:
            self.writer.tell(ExpectedWait(0.0, 0.0))

    def expected(self, deferred: Slots, now_s: float) -> ExpectedWait:
        slots = np.delete(np.arange(len(self._queue)), deferred)
        step = self._settings.step_time
        started_s = sum(prompt_s(step, *prompt) for prompt in vllm_compat.running_prompts(self._engine.scheduler))
        if not slots.size:
            return ExpectedWait(started_s, self._turn_s)
        work_s = self._work.waiting_s(slots)
        self._turn_s = work_s / slots.size
        return ExpectedWait(max(started_s + work_s, self._longest_s(slots, now_s)), self._turn_s)

    def waited_s(self, told: str | None) -> float:
        """How long a turn was refused before it arrived, as the middleware tells it; 0 for what a caller made up."""
        if told is None or self.writer is None:
            return 0.0
        secret, _, waited = told.partition(":")
        if not hmac.compare_digest(secret.encode("utf-8", "replace"), self.writer.secret.encode()):
            return 0.0
        return min(max(float(waited), 0.0), LONGEST_AGE_S)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _longest_s(self, slots: Slots, now_s: float) -> float:
        """The longest wait in the queue of a turn without a first token and of the caller's foremost priority."""
        priorities = self._queue.priorities(slots)
        foremost = slots[priorities == priorities.min()]
        since_s = float(self._queue.columns[Column.DEADLINE_S, foremost].min()) - self._settings.slo.ttft_s
        return max(now_s - since_s, 0.0)


def _writer(refuse_after_s: float) -> NoticeWriter:
    key = "additional_config: augserve.refuse_after_s"
    folder = shared_folder()
    if folder is None:
        raise DeploymentError(f"{key} needs vLLM's plug-in 'augserve'; add it to VLLM_PLUGINS or remove the key")
    try:
        return NoticeWriter(folder, refuse_after_s)
    except OSError as error:
        raise DeploymentError(f"{key}: cannot write to {folder}: {error}; correct TMPDIR") from error
