"""What a simulation tells: a record a turn, and the engine's totals."""

from dataclasses import dataclass


@dataclass(slots=True)
class TurnRecord:
    """One turn as it went. Times are virtual seconds; None: it has not come to that."""

    session_id: str
    kind: str
    turn: int
    last: bool  # the session's last turn
    arrival_s: float
    prompt_tokens: int
    first_token_s: float | None = None
    finish_s: float | None = None
    output_tokens: int = 0
    cached_tokens: int = 0  # prompt tokens that needed no computing when it was first scheduled
    preemptions: int = 0
    loaded_tokens: int = 0  # of the cached ones, those that came back from host memory


@dataclass(slots=True)
class EngineTotals:
    steps: int = 0
    tokens_scheduled: int = 0
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SimulationResult:
    turns: tuple[TurnRecord, ...]  # every turn that arrived, in order of arrival
    totals: EngineTotals
    end_s: float  # virtual time at which the simulation ended
