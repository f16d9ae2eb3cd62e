"""What users saw in a run, recorded or simulated, by the same formulas."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ....data.tables.sessions import RecordedTurn
from ....models.serving.settings import StepTime
from ....runtime.queueing.value import prompt_s
from ...project.stage import StageError

if TYPE_CHECKING:
    from ...simulator.record.records import TurnRecord

SIZES = (0, 2_000, 8_000, 32_000, 128_000, 1 << 62)
"""Edges of prompt lengths, tokens."""
LEAST_TURNS = 30
"""Turns below which a rate says too little."""


@dataclass(frozen=True, slots=True)
class SeenTurn:
    session: str
    arrival_s: float
    first_token_s: float | None
    finish_s: float | None
    prompt_tokens: int
    is_agents: bool = True  # False: of a sub-agent


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rates and waits are of the time from the first arrival to the last end. In a closed loop they end where the first
    agent has no next session: from there on the load is less than it was, and a recording that was cut off lacks turns.
    """

    turns: int
    measured_s: float
    turns_per_minute: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    session_s: float  # mean time from a session's first arrival to its last end

    @classmethod
    def of(cls, turns: list[SeenTurn], agents: int | None = None) -> "Outcome":
        """`agents`: of a closed loop. Raises StageError where no turn has ended."""
        ended = [turn for turn in turns if turn.finish_s is not None and turn.first_token_s is not None]
        if not ended:
            raise StageError("no turn has ended, so nothing can be told; record for longer")
        begun_s = min(turn.arrival_s for turn in turns)
        spans = session_spans(ended)
        end_s = max(end_s for _, end_s in spans.values())
        if agents is not None:
            end_s = _all_work_until_s(ended, agents) or end_s
        measured = [turn for turn in ended if (turn.finish_s or 0.0) <= end_s]
        measured_s = max(end_s - begun_s, 1e-9)
        waits_s = [(turn.first_token_s or 0.0) - turn.arrival_s for turn in measured]
        p50, p90, p99 = np.percentile(waits_s, (50, 90, 99)).tolist()
        session_s = float(np.mean([end_s - start_s for start_s, end_s in spans.values()]))
        return cls(len(measured), measured_s, 60 * len(measured) / measured_s, p50, p90, p99, session_s)


def session_spans(ended: Iterable[SeenTurn]) -> dict[str, tuple[float, float]]:
    """First arrival and last end of each session, by its name."""
    spans: dict[str, tuple[float, float]] = {}
    for turn in ended:
        first_s, last_s = spans.get(turn.session, (np.inf, 0.0))
        spans[turn.session] = (min(first_s, turn.arrival_s), max(last_s, turn.finish_s or 0.0))
    return spans


def _all_work_until_s(ended: Iterable[SeenTurn], agents: int) -> float | None:
    """When the first agent has no next session: at the first end of a session after the last start of one. None where
    there are fewer sessions than agents, or fewer than LEAST_TURNS turns until then."""
    ended = [turn for turn in ended if turn.is_agents]
    spans = session_spans(ended).values()
    if len(spans) < agents:
        return None
    last_start_s = max(start_s for start_s, _ in spans)
    until_s = min(end_s for _, end_s in spans if end_s > last_start_s)
    return until_s if sum((turn.finish_s or 0.0) <= until_s for turn in ended) >= LEAST_TURNS else None


def recorded_turns(sessions: Iterable[tuple[RecordedTurn, ...]]) -> list[SeenTurn]:
    return [
        SeenTurn(
            f"{turn.source}:{turn.session_id}",
            turn.arrival_s,
            turn.first_token_s,
            turn.finish_s,
            turn.prompt_tokens,
            turn.parent_session_id is None,
        )
        for turns in sessions
        for turn in turns
    ]


def simulated_turns(turns: "Iterable[TurnRecord]") -> list[SeenTurn]:
    return [
        SeenTurn(
            turn.session_id,
            turn.arrival_s,
            turn.first_token_s,
            turn.finish_s,
            turn.prompt_tokens,
            turn.parent_id is None,
        )
        for turn in turns
    ]


def waits_by_size(turns: list[SeenTurn]) -> list[tuple[str, int, float, float, float]]:
    """For each size of prompts that occurs: its name, turns, and p50, p90, p99 of the TTFT in seconds."""
    rows = []
    for low, high in pairwise(SIZES):
        waits_s = [
            turn.first_token_s - turn.arrival_s
            for turn in turns
            if low <= turn.prompt_tokens < high and turn.first_token_s is not None
        ]
        if waits_s:
            name = f"{low:,} to {high - 1:,}" if high < SIZES[-1] else f"{low:,} and more"
            rows.append((name, len(waits_s), *np.percentile(waits_s, (50, 90, 99)).tolist()))
    return rows


def computed_again(sessions: Iterable[tuple[RecordedTurn, ...]]) -> tuple[int, int]:
    """Prompt tokens that were computed, and those of them that had been there: the lost part of a turn's context."""
    computed = again = 0
    for turn, lost in _with_lost_tokens(sessions):
        computed += max(turn.prompt_tokens - (turn.cached_tokens or 0), 0)
        again += lost
    return computed, again


def computed_again_s(sessions: Iterable[tuple[RecordedTurn, ...]], step: StepTime) -> float:
    """Engine time that the lost parts took."""
    return sum(
        prompt_s(step, float(lost), float(lost + (turn.cached_tokens or 0)))
        for turn, lost in _with_lost_tokens(sessions)
    )


def _with_lost_tokens(sessions: Iterable[tuple[RecordedTurn, ...]]) -> Iterator[tuple[RecordedTurn, int]]:
    """Turns whose cached tokens are known, and how many tokens of their contexts had been there."""
    for turns in sessions:
        context = 0
        for turn in turns:
            if turn.cached_tokens is not None:
                yield turn, max(min(context, turn.prompt_tokens) - turn.cached_tokens, 0)
            context = turn.prompt_tokens + turn.output_tokens
