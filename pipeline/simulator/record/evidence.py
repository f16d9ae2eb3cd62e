"""What a cell leaves for its report beside the metrics: its turns by session, for intervals and distributions, and its
token budget and KV usage over time. Plain lists, so that it goes between processes and into a JSON file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request

from ....data.workload.model import Session
from ..cells.cell import Cell, simulate_cell
from ..errors import SimulationError
from ..forward import Step
from .metrics import meets_slo, run_metrics, wait_s
from .records import SimulationResult, TurnRecord

BIN_S = 1.0
"""Width of a bin of the series over time, virtual seconds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Lists of one length belong together: those of sessions, of turns that arrived in the window, and of bins."""

    metrics: dict[str, float]
    window_s: float
    sessions: list[str]  # those with a turn in the window, or that ended in it
    kinds: list[str]  # of the sessions
    sessions_in_time: list[int]  # 1: the session ended in the window, and all its turns met the SLO
    turn_sessions: list[int]  # index into `sessions`
    ttft_s: list[float]  # of a turn without first token: its wait until the simulation's end
    in_time: list[int]  # 1: the turn met the SLO
    bins_s: list[float]  # where bins in which a step began start, virtual seconds
    token_budget: list[float]  # means over a bin's steps
    kv_usage: list[float]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises SimulationError for what `to_json` did not make."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            raise SimulationError("cell: its result is of another form; it is computed anew where it is needed")
        return cls(**value)


def run_evidence(cell: Cell) -> Evidence:
    """Simulate a cell. Raises as `run_cell` does."""
    series = StepSeries()
    return evidence_of(cell, simulate_cell(cell, series), series)


def evidence_of(cell: Cell, result: SimulationResult, series: "StepSeries") -> Evidence:
    window, slo = cell.schedule.window, cell.settings.slo
    places: dict[str, int] = {}
    kinds: list[str] = []
    met: dict[str, bool] = {}
    ended: set[str] = set()

    def place(turn: TurnRecord) -> int:
        if turn.session_id not in places:
            places[turn.session_id] = len(places)
            kinds.append(turn.kind)
        return places[turn.session_id]

    turn_sessions, ttft_s, in_time = [], [], []
    for turn in result.turns:
        meets = meets_slo(turn, slo)
        met[turn.session_id] = met.get(turn.session_id, True) and meets
        if window.holds(turn.arrival_s):
            turn_sessions.append(place(turn))
            ttft_s.append(round(wait_s(turn, result.end_s), 6))
            in_time.append(int(meets))
        if turn.last and turn.finish_s is not None and window.holds(turn.finish_s):
            place(turn)
            ended.add(turn.session_id)
    return Evidence(
        metrics=run_metrics(result, window, slo),
        window_s=window.length_s,
        sessions=list(places),
        kinds=kinds,
        sessions_in_time=[int(name in ended and met[name]) for name in places],
        turn_sessions=turn_sessions,
        ttft_s=ttft_s,
        in_time=in_time,
        bins_s=[number * BIN_S for number in series.sums],
        token_budget=[budget / steps for steps, budget, _ in series.sums.values()],
        kv_usage=[round(usage / steps, 5) for steps, _, usage in series.sums.values()],
    )


class StepSeries:
    """Implements Observer: sums over the steps that begin in each bin of time."""

    def __init__(self) -> None:
        self.sums: dict[int, tuple[int, float, float]] = {}  # bin → steps, token budgets, KV usages

    def turn_arrived(self, record: TurnRecord, request: Request, session: Session) -> None:
        pass

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:  # noqa: ARG002
        steps, budget, usage = self.sums.get(number := int(now_s / BIN_S), (0, 0.0, 0.0))
        usage += scheduler.kv_cache_manager.usage
        self.sums[number] = steps + 1, budget + scheduler.max_num_scheduled_tokens, usage

    def turn_finished(self, record: TurnRecord, reason: str) -> None:
        pass
