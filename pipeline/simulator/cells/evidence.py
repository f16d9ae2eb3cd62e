"""Simulates a cell and gathers its evidence."""

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ..forward import Step
from ..observers.observer import Observer
from ..record.evidence import Evidence
from ..record.metrics import metrics_of
from .cell import Cell, sample_cell

BIN_S = 1.0
"""Width of a bin of the series over time, virtual seconds."""


def run_evidence(cell: Cell) -> Evidence:
    """Simulate a cell. Raises as `run_cell` does."""
    series = StepSeries()
    samples = sample_cell(cell, series)
    return Evidence(
        metrics=metrics_of([samples]),
        samples=samples,
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
