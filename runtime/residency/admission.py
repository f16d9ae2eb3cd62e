"""Admission of heavy cold turns: they wait until the working set leaves them room.

A turn is cold if its session holds no memory: a new session, or one that was let go. It is heavy if its prefill takes
long. Everything else is never held: resident sessions, their sub-agents, turns that have output, and light turns.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..engine import Engine
from ..queueing.look_up import look_up
from ..queueing.tenants import TenantService
from ..queueing.value import Column, Floats, heavy, prefill_s
from ..queueing.waiting_queue import Slots, WaitingQueue
from .longest_wait import Admissions, OverdueAdmissions, PassedOver
from .pins import Pins
from .working_set import WorkingSet

Mask = NDArray[np.bool_]

NONE_HELD: Slots = np.empty(0, np.intp)
MOST_AT_ONCE = 32
"""Turns that one step considers, at most."""


class HeavyAdmission:
    """Decides each step which heavy cold turns are held.

    The tenant with the least recent engine time goes first. Of its turns, fewest uncached tokens go first, and each
    admission beyond a share goes to the turn that has waited longest. A turn that is next and does not fit keeps those
    after it waiting, so that room is left for it.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        engine: Engine,
        pins: Pins,
        working_set: WorkingSet,
        tenants: TenantService,
    ) -> None:
        self.settings = settings
        self._step = settings.step_time
        self._engine = engine
        self._pins = pins
        self.working_set = working_set
        self._tenants = tenants
        residency = settings.residency
        self._admissions = Admissions(residency.longest_share)
        self._passed_over = PassedOver()
        self._arrivals: int | None = None  # of the queue, at the last look; None if it held no turn
        self._overdue = OverdueAdmissions(residency.longest_wait_s, settings.admission.overdue_share)
        engine.metrics.working_set_limit.set(working_set.share_blocks * working_set.block_tokens)

    def hold(self, queue: WaitingQueue, now_s: float, deferred: Slots) -> Slots:
        """Admit what fits, and return the slots of the turns that must wait on. `deferred`: slots of turns that vLLM
        cannot run yet, which do not ask."""
        asks, light = self._asks(queue.columns, deferred)
        asking = np.flatnonzero(asks)
        if self._arrivals is not None:
            newcomers = light & queue.came_after(self._arrivals)
            self._passed_over.came(self.working_set.blocks_of(queue.columns[Column.UNCACHED_TOKENS, newcomers]))
        if asking.size:
            self.working_set.note_waiting(queue.columns[Column.TOKENS, light])
            asks[self._offer(queue, asking, deferred.size, now_s)] = False
        held = np.flatnonzero(asks)
        self._arrivals = queue.arrivals if held.size else None
        if self._arrivals is None:
            self._passed_over.restart()
        self._report(queue.columns, held)
        return held

    def looks_again_s(self, now_s: float) -> float:
        """When the passing of time alone may admit one of the held turns, at the earliest."""
        return min(self._pins.next_outlasted_s(now_s), self._overdue.looks_again_s(now_s))

    def _asks(self, columns: Floats, deferred: Slots) -> tuple[Mask, Mask]:
        """Which cold turns are heavy and ask for admission, and which are light, each of shape (n,)."""
        is_heavy = self._heavy(columns)
        cold = columns[Column.ADMITTED] == 0.0
        if not self.working_set.share_blocks:
            cold[:] = False
        cold[deferred] = False
        return cold & is_heavy, cold & ~is_heavy

    def _offer(self, queue: WaitingQueue, asking: Slots, deferred: int, now_s: float) -> list[int]:
        """Slots of the turns that are not held: the admitted ones, and those whose context was found in the cache."""
        most_blocks = self._most_blocks(queue.columns, asking)
        since_s = queue.columns[Column.WAITING_SINCE_S, asking]
        longest = int(asking[since_s.argmin()])
        offered: list[int] = []
        if reason := self._goes_in_without_room(queue, longest, now_s):
            self._look_up(queue, longest)
            self._enter(queue, longest, self._demand_blocks(queue, longest, most_blocks))
            self._note_wait(reason, queue, longest, now_s)
            self._passed_over.restart()
            offered.append(longest)
        idle = len(queue) == asking.size + deferred and not vllm_compat.running_count(self._engine.scheduler)
        foremost = self._foremost(queue, asking, now_s)
        longest = int(foremost[queue.columns[Column.WAITING_SINCE_S, foremost].argmin()])
        for slot in self._by_turns(queue, foremost, longest):
            if slot in offered:
                continue
            blocks = self._demand_blocks(queue, slot, most_blocks)
            if self._heavy(queue.columns[:, [slot]]).all():
                missing = self.working_set.blocks + blocks - most_blocks
                tenant = self._tenant(queue, slot)
                if missing > 0 and not self._pins.let_go(missing, now_s, tenant) and (offered or not idle):
                    break
                self._enter(queue, slot, blocks)
                self._note_wait("room", queue, slot, now_s)
                self._admissions.admitted(longest=slot == longest)
                if slot == longest:
                    self._passed_over.restart()
            offered.append(slot)
        return offered

    def _goes_in_without_room(self, queue: WaitingQueue, longest: int, now_s: float) -> str | None:
        """Why the turn that has waited longest goes in whatever room there is; None if it does not."""
        if self._overdue.is_due(queue.columns.item(Column.WAITING_SINCE_S, longest), now_s):
            self._overdue.admitted(float(self._costs_s(queue.columns[Column.TOKENS, [longest]])[0]))
            return "overdue"
        needs = self.working_set.blocks_of(queue.columns[Column.UNCACHED_TOKENS, [longest]])
        return "passed" if self._passed_over.is_due(needs) else None

    def _foremost(self, queue: WaitingQueue, asking: Slots, now_s: float) -> Slots:
        """Those of the caller's foremost priority, and of these the turns of the tenant with the smallest account."""
        priorities = queue.priorities(asking)
        foremost: Slots = asking[priorities == priorities.min()]
        if (accounts_s := self._tenants.accounts(now_s)) is not None:
            used_s = accounts_s[queue.columns[Column.TENANT, foremost].astype(np.intp)]
            foremost = foremost[used_s == used_s.min()]
        return foremost

    def _tenant(self, queue: WaitingQueue, slot: int) -> str | None:
        live = self._engine.turns.get(queue.requests[slot].request_id)
        return None if live is None else live.hints.tenant

    def _by_turns(self, queue: WaitingQueue, foremost: Slots, longest: int) -> Iterator[int]:
        """Fewest uncached tokens first. They are looked up again: blocks may have been evicted since."""
        if self._admissions.longest_is_next:
            self._look_up(queue, longest)
            yield longest
        uncached = queue.columns[Column.UNCACHED_TOKENS, foremost]
        if foremost.size > MOST_AT_ONCE:
            first = np.argpartition(uncached, MOST_AT_ONCE)[:MOST_AT_ONCE]
            foremost, uncached = foremost[first], uncached[first]
        candidates = list(zip(uncached.tolist(), range(foremost.size), foremost.tolist(), strict=True))
        heapify(candidates)
        while candidates:
            _, place, slot = heappop(candidates)
            looked_up = self._look_up(queue, slot)
            if candidates and looked_up > candidates[0][0]:
                heappush(candidates, (looked_up, place, slot))
            else:
                yield slot

    def _look_up(self, queue: WaitingQueue, slot: int) -> float:
        return look_up(queue.columns, slot, queue.requests[slot], self._engine.kv_cache)

    def _heavy(self, columns: Floats) -> Mask:
        return heavy(self.settings, columns[Column.UNCACHED_TOKENS], columns[Column.TOKENS])

    def _most_blocks(self, columns: Floats, asking: Slots) -> int:
        """Blocks that the working set may fill in this step."""
        return self.working_set.most_blocks(self.working_set.blocks_of(columns[Column.UNCACHED_TOKENS, asking]))

    def _demand_blocks(self, queue: WaitingQueue, slot: int, most_blocks: int) -> int:
        """Blocks that a turn takes, of which the uncached tokens have been looked up."""
        tokens, uncached = queue.columns[[Column.TOKENS, Column.UNCACHED_TOKENS], slot]
        return self.working_set.demand_blocks(queue.requests[slot], int(tokens - uncached), most_blocks)

    def _enter(self, queue: WaitingQueue, slot: int, blocks: int) -> None:
        request = queue.requests[slot]
        self.working_set.enter(request, blocks)
        queue.columns[Column.ADMITTED, slot] = 1.0
        if (live := self._engine.turns.get(request.request_id)) is not None:
            live.admitted = True

    def _note_wait(self, to: str, queue: WaitingQueue, slot: int, now_s: float) -> None:
        since_s = queue.columns.item(Column.WAITING_SINCE_S, slot)
        wait_s = max(now_s - since_s, 0.0)
        self._engine.metrics.admission_wait(to, wait_s)
        if (live := self._engine.turns.get(queue.requests[slot].request_id)) is not None:
            live.admission_wait_s = wait_s

    def _report(self, columns: Floats, held: Slots) -> None:
        metrics = self._engine.metrics
        metrics.held_turns.set(held.size)
        metrics.resident.set(len(self._pins) + vllm_compat.running_count(self._engine.scheduler))
        blocks = self.working_set.blocks
        metrics.working_set.set(blocks * self.working_set.block_tokens)
        metrics.working_set_share.set(blocks / self.working_set.capacity_blocks)
        bound_s = 0.0
        if held.size:
            bound_s = self._overdue.bound_s(float(self._costs_s(columns[Column.TOKENS, held]).sum()))
        metrics.admission_bound.set(bound_s)

    def _costs_s(self, tokens: Floats) -> Floats:
        """Engine time of admissions without room, shape (n,): their own prefill, and as much for the contexts that make
        way."""
        return 2 * prefill_s(self._step, tokens, tokens)
