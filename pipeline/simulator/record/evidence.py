"""The evidence of a cell: its metrics, its turns by session for intervals and distributions, and its token budget and
KV usage over time. All values are plain lists, for other processes and JSON files."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ..cells.cell import Cell, simulate_cell
from ..errors import SimulationError
from ..forward import Step
from .metrics import ended_sessions, meets_slo, run_metrics, wait_s
from .observer import Observer
from .records import SimulationResult, TurnRecord

BIN_S = 1.0
"""Width of a bin of the series over time, virtual seconds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Three groups of parallel lists: sessions, turns that arrived in the window, and bins of time."""

    metrics: dict[str, float]
    window_s: float
    sessions: list[str]  # with a turn in the window, or ended in it
    kinds: list[str]  # of the sessions
    sessions_in_time: list[int]  # 1: the session ended in the window, and all its turns met the SLO
    turn_sessions: list[int]  # index into `sessions`
    ttft_s: list[float]  # without a first token: the wait until the end of the simulation
    in_time: list[int]  # 1: the turn met the SLO
    bins_s: list[float]  # starts of the bins with at least one step, virtual seconds
    token_budget: list[float]  # means over the steps of a bin
    kv_usage: list[float]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises SimulationError for another form."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            raise SimulationError("cell: the result has another form; simulate the cell again")
        return cls(**value)


def run_evidence(cell: Cell) -> Evidence:
    """Simulate a cell. Raises as `run_cell` does."""
    series = StepSeries()
    return evidence_of(cell, simulate_cell(cell, series), series)


def evidence_of(cell: Cell, result: SimulationResult, series: "StepSeries") -> Evidence:
    window, slo = cell.schedule.window, cell.settings.slo
    ended = ended_sessions(result, window, slo)
    places: dict[str, int] = {}
    kinds: list[str] = []

    def place(turn: TurnRecord) -> int:
        if turn.session_id not in places:
            places[turn.session_id] = len(places)
            kinds.append(turn.kind)
        return places[turn.session_id]

    turn_sessions, ttft_s, in_time = [], [], []
    for turn in result.turns:
        if window.holds(turn.arrival_s):
            turn_sessions.append(place(turn))
            ttft_s.append(round(wait_s(turn, result.end_s), 6))
            in_time.append(int(meets_slo(turn, slo)))
        if turn.last and turn.finish_s is not None and window.holds(turn.finish_s):
            place(turn)
    return Evidence(
        metrics=run_metrics(result, window, slo),
        window_s=window.length_s,
        sessions=list(places),
        kinds=kinds,
        sessions_in_time=[int(ended.get(name, False)) for name in places],
        turn_sessions=turn_sessions,
        ttft_s=ttft_s,
        in_time=in_time,
        bins_s=[number * BIN_S for number in series.sums],
        token_budget=[budget / steps for steps, budget, _ in series.sums.values()],
        kv_usage=[round(usage / steps, 5) for steps, _, usage in series.sums.values()],
    )


class StepSeries(Observer):
    """Sums over the steps that begin in each bin of time."""

    def __init__(self) -> None:
        self.sums: dict[int, tuple[int, float, float]] = {}  # bin → steps, token budgets, KV usages

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:  # noqa: ARG002
        steps, budget, usage = self.sums.get(number := int(now_s / BIN_S), (0, 0.0, 0.0))
        usage += scheduler.kv_cache_manager.usage
        self.sums[number] = steps + 1, budget + scheduler.max_num_scheduled_tokens, usage
