"""What users saw in a run, recorded or simulated, by the same formulas."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ....data.tables.sessions import RecordedTurn
from ...project.stage import StageError

if TYPE_CHECKING:
    from ...simulator.record.records import TurnRecord

SIZES = (0, 2_000, 8_000, 32_000, 128_000, 1 << 62)
"""Edges of prompt lengths, tokens."""


@dataclass(frozen=True, slots=True)
class SeenTurn:
    session: str
    arrival_s: float
    first_token_s: float | None
    finish_s: float | None
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rates are of the time from the first arrival to the last end."""

    turns: int
    turns_per_minute: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    session_s: float  # mean time from a session's first arrival to its last end

    @classmethod
    def of(cls, turns: list[SeenTurn]) -> "Outcome":
        """Raises StageError where no turn has ended."""
        ended = [turn for turn in turns if turn.finish_s is not None and turn.first_token_s is not None]
        if not ended:
            raise StageError("no turn has ended, so nothing can be told; record for longer")
        begun_s = min(turn.arrival_s for turn in turns)
        span_s = max(max(turn.finish_s or 0.0 for turn in ended) - begun_s, 1e-9)
        waits_s = [(turn.first_token_s or 0.0) - turn.arrival_s for turn in ended]
        p50, p90, p99 = np.percentile(waits_s, (50, 90, 99)).tolist()
        first: dict[str, float] = {}
        last: dict[str, float] = {}
        for turn in ended:
            first[turn.session] = min(first.get(turn.session, np.inf), turn.arrival_s)
            last[turn.session] = max(last.get(turn.session, 0.0), turn.finish_s or 0.0)
        session_s = float(np.mean([last[session] - first[session] for session in first]))
        return cls(len(ended), 60 * len(ended) / span_s, p50, p90, p99, session_s)


def recorded_turns(sessions: Iterable[tuple[RecordedTurn, ...]]) -> list[SeenTurn]:
    return [
        SeenTurn(
            f"{turn.source}:{turn.session_id}", turn.arrival_s, turn.first_token_s, turn.finish_s, turn.prompt_tokens
        )
        for turns in sessions
        for turn in turns
    ]


def simulated_turns(turns: "Iterable[TurnRecord]") -> list[SeenTurn]:
    return [
        SeenTurn(turn.session_id, turn.arrival_s, turn.first_token_s, turn.finish_s, turn.prompt_tokens)
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
    for turns in sessions:
        context = 0
        for turn in turns:
            if turn.cached_tokens is not None:
                computed += max(turn.prompt_tokens - turn.cached_tokens, 0)
                again += max(min(context, turn.prompt_tokens) - turn.cached_tokens, 0)
            context = turn.prompt_tokens + turn.output_tokens
    return computed, again
