"""Simulates a cell and gathers its evidence."""

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ..forward import Step
from ..record.evidence import Evidence
from ..record.metrics import ended_sessions, meets_slo, run_metrics, wait_s
from ..record.observer import Observer
from ..record.records import SimulationResult, TurnRecord
from .cell import Cell, simulate_cell

BIN_S = 1.0
"""Width of a bin of the series over time, virtual seconds."""


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
    """Sums over the steps that begin in each bin of time. All steps of a bulk count with the KV usage of its end."""

    def __init__(self) -> None:
        self.sums: dict[int, tuple[int, float, float]] = {}  # bin → steps, token budgets, KV usages

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:  # noqa: ARG002
        budget, usage = scheduler.max_num_scheduled_tokens, scheduler.kv_cache_manager.usage
        for begins_s in step.bulk_ends_s[:-1] or (now_s,):
            steps, budgets, usages = self.sums.get(number := int(begins_s / BIN_S), (0, 0.0, 0.0))
            self.sums[number] = steps + 1, budgets + budget, usages + usage
