"""What tuning simulates on: the cells of a split's sessions, stock vLLM on them, and where its capacity lies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from ...data.tables.splits import SPLIT_SEEDS, Use
from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ...data.workload.trace_set import Split
from ...models.serving.settings import SchedulerSettings
from ..project.stage import StageError
from ..simulator.cells.capacity import bracket, capacity
from ..simulator.cells.cell import Cell
from ..simulator.cells.parallel import Submit
from .params import TuneParams
from .score import Job, Metrics, stock_jobs

MODELS = Path("models/onnx")
PROFILES = Path("data/profiles")
Key = TypeVar("Key")
Capacities = Mapping[str, float]
"""Capacity@90 of stock vLLM by workload, sessions/s: load 1x."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The sessions of one use: no two uses share any."""

    params: TuneParams
    seed: int
    shares: tuple[float, float]  # validation and test share of the sessions of traces
    submit: Submit
    use: Use = "tune"

    def cell(self, job: Job, rate_per_s: float, policy: str, settings: SchedulerSettings, short: bool = False) -> Cell:
        return Cell(
            job.workload,
            policy,
            PROFILES / f"{self.params.profile}.json",
            rate_per_s,
            self.seed + SPLIT_SEEDS[self.use] + job.seed,
            self.params.schedule(job.workload, short),
            settings,
            MODELS,
            None if job.workload in MIXES else Split(self.use, *self.shares),
        )

    def start(
        self, job: Job, units: Capacities, settings: SchedulerSettings, policy: str = "augserve", short: bool = False
    ) -> "Future[dict[str, float]]":
        return self.submit(self.cell(job, job.load * units[job.workload], policy, settings, short))

    def stock(self, units: Capacities, defaults: SchedulerSettings) -> dict[Job, Metrics]:
        """Stock vLLM on this use's sessions."""
        futures = {job: self.start(job, units, defaults, "vllm") for job in stock_jobs(self.params)}
        return collect(futures, f"tune: vllm, {self.use}")

    def capacities(self, defaults: SchedulerSettings) -> Capacities:
        """Capacity@90 of stock vLLM on each workload; a swing has the steady mix's. Raises StageError where it lies
        below what is searched."""
        params = self.params
        found: dict[str, float] = {}
        with tqdm(desc="tune: capacity", unit="run") as bar:  # type: tqdm[Any]
            for workload in (name for name in params.workloads if name != MIX_SWING):
                attainments = self._attainments(workload, defaults, bar)
                low, high = params.capacity_low, params.capacity_high
                if workload != MIX:  # the mix's bounds say little of other sessions
                    low, high = bracket(attainments, low)
                unit = capacity(attainments, low, high, params.capacity_rounds)
                if unit is None and workload == MIX:
                    raise StageError(
                        f"tune: stock vLLM misses the SLO at every rate tried, from {low} sessions/s on; "
                        "lower tune.capacity_low in params.yaml"
                    )
                found[workload] = low if unit is None else unit
        return {**found, MIX_SWING: found[MIX]} if MIX in found else found

    def _attainments(
        self, workload: str, defaults: SchedulerSettings, bar: "tqdm[Any]"
    ) -> Callable[[Sequence[float]], list[float]]:
        def attainments(rates: Sequence[float]) -> list[float]:
            job = Job(workload, 1.0, 0)
            futures = [self.submit(self.cell(job, rate, "vllm", defaults)) for rate in rates]
            shares = [future.result()["attainment"] for future in futures]
            bar.update(len(rates))
            return shares

        return attainments


def collect(futures: Mapping[Key, "Future[dict[str, float]]"], what: str) -> dict[Key, Metrics]:
    """Wait for simulations under a bar."""
    items: Iterable[tuple[Key, Future[dict[str, float]]]] = tqdm(futures.items(), desc=what, unit="run")
    return {key: future.result() for key, future in items}
