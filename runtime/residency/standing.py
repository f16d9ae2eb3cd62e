"""Whether the last step's order of the waiting turns still stands, so that the next step need not make it again."""

from .. import vllm_compat
from ..queueing.waiting_queue import WaitingQueue
from ..vllm_compat import AsyncScheduler
from .working_set import WorkingSet

LONGEST_S = 0.25
"""Then the cached tokens of held turns are looked up again: another turn may have computed the same prefix."""


class StandingOrder:
    """An order stands if it holds all waiting turns, and nothing has happened that could admit one of them: no turn
    has come, gone or ended, the working set has no more room, and no time has come at which one of them may go in."""

    def __init__(self, scheduler: AsyncScheduler, queue: WaitingQueue, working_set: WorkingSet) -> None:
        self._scheduler = scheduler
        self._queue = queue
        self._working_set = working_set
        self._until_s = float("-inf")
        self._made_s = float("-inf")
        self._of: tuple[int, int] = (0, 0)
        self._blocks = 0

    def made(self, now_s: float, until_s: float) -> None:
        """An order was made that time alone does not change until `until_s`."""
        self._made_s, self._until_s = now_s, min(until_s, now_s + LONGEST_S)
        self._of, self._blocks = self._state, self._working_set.blocks

    def forget(self) -> None:
        """The next step makes an order."""
        self._until_s = float("-inf")

    def stands(self, now_s: float) -> bool:
        return (
            self._made_s <= now_s < self._until_s
            and not self._queue
            and self._of == self._state
            and self._working_set.blocks >= self._blocks
        )

    @property
    def _state(self) -> tuple[int, int]:
        """What changes as turns come and go."""
        return self._queue.entered, vllm_compat.running_count(self._scheduler)
