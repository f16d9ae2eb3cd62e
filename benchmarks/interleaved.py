"""Runs sessions interleaved through AugServe's scheduler, and counts to which session each turn is linked."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vllm.sampling_params import SamplingParams
from vllm.v1.request import Request

from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.scheduler import AugServeScheduler

from .conversations import SentTurn
from .measure import sampled

LIMITS = EngineLimits(kv_tokens=8_000_000, max_model_len=131_072, max_num_seqs=64, max_num_batched_tokens=65_536)
AT_ONCE = 16


@dataclass(slots=True)
class LinkingCounts:
    """Turns by the result of their linking."""

    right: int = 0
    new: int = 0  # linked to no session, though it continues one
    wrong: int = 0  # linked to another session
    changed: int = 0  # not linked after the client changed the past
    _owners: dict[str, int] = field(default_factory=dict)  # session id → the real session
    _last: dict[int, str] = field(default_factory=dict)  # real session → its session id

    def arrived(self, session: int, turn: SentTurn, session_id: str) -> None:
        before = self._last.get(session)
        if self._owners.setdefault(session_id, session) != session:
            self.wrong += 1
            return
        if before is not None:
            linked = session_id in self._last.values()
            self.right += linked
            self.changed += not linked and not turn.extends
            self.new += not linked and turn.extends
        self._last[session] = session_id

    def figures(self) -> dict[str, float]:
        continued = self.right + self.new + self.wrong
        return {
            "turns": continued,
            "right_percent": round(100 * self.right / max(continued, 1), 2),
            "new_session": self.new,
            "wrong": self.wrong,
            "new_session_past_changed": self.changed,
        }


def run_sessions(
    sessions: Sequence[Iterable[SentTurn]], end_id: int, seed: int, caching: bool = True, prefix: bool = True
) -> LinkingCounts:
    """Run sessions interleaved; the next turn of a session arrives a few steps after the last one has finished."""
    rnd = random.Random(seed)
    scheduler = build_scheduler(AugServeScheduler, LIMITS, {"augserve": {"mode": "observe"}}, caching)
    counts = LinkingCounts()
    left = [(index, iter(session)) for index, session in enumerate(sessions)][::-1]
    waiting: list[tuple[int, int, Iterator[SentTurn]]] = []  # step, session, its turns
    running: dict[str, tuple[int, Iterator[SentTurn], Sequence[int]]] = {}
    step = number = 0
    while left or waiting or running:
        while left and len(waiting) + len(running) < AT_ONCE:
            waiting.append((step + rnd.randint(0, 3), *left.pop()))
        for entry in [entry for entry in waiting if entry[0] <= step]:
            waiting.remove(entry)
            _, session, turns = entry
            turn = next(turns, None)
            if turn is None:
                continue
            number += 1
            request = engine_request(f"r{number}", turn, end_id, caching, prefix)
            scheduler.add_request(request)
            counts.arrived(session, turn, scheduler.lifecycle.turns[request.request_id].session_id)  # type: ignore[attr-defined]
            running[request.request_id] = (session, turns, turn.output)
        step += 1
        scheduled = scheduler.schedule()
        result = sampled(
            scheduler, scheduled, lambda request: running[request.request_id][2][request.num_output_tokens]
        )
        for outputs in scheduler.update_from_output(scheduled, result).values():
            for output in outputs.outputs:
                if output.finish_reason is not None:
                    session, turns, _ = running.pop(output.request_id)
                    waiting.append((step + rnd.randint(1, 40), session, turns))
    scheduler.shutdown()
    return counts


def engine_request(name: str, turn: SentTurn, end_id: int, caching: bool = True, prefix: bool = True) -> Request:
    params = SamplingParams(max_tokens=len(turn.output), stop_token_ids=[end_id], extra_args=dict(turn.hints) or None)
    hasher, salt = block_hasher() if caching else None, None if prefix else name
    return Request(name, list(turn.prompt), params, None, cache_salt=salt, block_hasher=hasher)
