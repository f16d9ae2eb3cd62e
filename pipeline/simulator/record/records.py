"""The result of a simulation: a record of each turn, and totals of the engine."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class TurnRecord:
    """One simulated turn. Times are virtual seconds; None: the event has not happened."""

    session_id: str
    kind: str
    turn: int
    last: bool  # the session's last turn
    arrival_s: float
    prompt_tokens: int
    first_token_s: float | None = None
    finish_s: float | None = None
    output_tokens: int = 0
    cached_tokens: int = 0  # prompt tokens in the prefix cache when the turn was first scheduled
    preemptions: int = 0
    loaded_tokens: int = 0  # cached tokens that were loaded from host memory
    parent_id: str | None = None  # of a sub-agent: the session that waits for it
    midway: bool = False  # the session's first turns are left out
    best_cached_tokens: int | None = None  # what an unbounded cache would have had; None: not observed


@dataclass(slots=True)
class EngineTotals:
    steps: int = 0
    tokens_scheduled: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class EngineUse:
    """Engine time in a window, seconds."""

    busy_s: float = 0.0
    recomputed_s: dict[str, float] = field(default_factory=dict)  # by session: on tokens that were computed before


@dataclass(frozen=True, slots=True)
class SimulationResult:
    turns: tuple[TurnRecord, ...]  # every turn that arrived, in order of arrival
    totals: EngineTotals
    end_s: float  # virtual time at which the simulation ended
