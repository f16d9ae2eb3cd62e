"""The simulations of tuning on the sessions of one split: trials, stock vLLM, and stock vLLM's capacity."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

from ...data.tables.splits import SPLIT_SEEDS, Use
from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ...data.workload.trace_set import Split
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..project.stage import StageError
from ..simulator.catalogue import AUGSERVE, VLLM
from ..simulator.cells.capacity import bracket, capacity
from ..simulator.cells.cell import Cell
from ..simulator.cells.parallel import Submit
from .params import TuneParams
from .score import Metrics, Scenario, stock_scenarios

Key = TypeVar("Key")
Capacities = Mapping[str, float]
"""Workload → capacity@90 of stock vLLM, sessions/s: load 1x."""


@dataclass(frozen=True, slots=True)
class TuningSimulations:
    """Simulations on the sessions of one use. No two uses share a session."""

    params: TuneParams
    seed: int
    shares: tuple[float, float]  # validation and test share of the sessions of traces
    submit: Submit
    use: Use = "tune"

    def cell(
        self, scenario: Scenario, rate_per_s: float, policy: str, settings: SchedulerSettings, short: bool = False
    ) -> Cell:
        return Cell(
            scenario.workload,
            policy,
            paths.PROFILES / f"{self.params.profile}.json",
            rate_per_s,
            self.seed + SPLIT_SEEDS[self.use] + scenario.seed,
            self.params.schedule(scenario.workload, short),
            settings,
            paths.ONNX,
            None if scenario.workload in MIXES else Split(self.use, *self.shares),
        )

    def start(
        self,
        scenario: Scenario,
        capacities: Capacities,
        settings: SchedulerSettings,
        policy: str = AUGSERVE.name,
        short: bool = False,
    ) -> "Future[dict[str, float]]":
        rate_per_s = scenario.load * capacities[scenario.workload]
        return self.submit(self.cell(scenario, rate_per_s, policy, settings, short))

    def stock(self, capacities: Capacities, defaults: SchedulerSettings) -> dict[Scenario, Metrics]:
        """Stock vLLM on every scenario that trials are compared with."""
        scenarios = stock_scenarios(self.params)
        futures = {scenario: self.start(scenario, capacities, defaults, VLLM.name) for scenario in scenarios}
        return collect(futures, f"tune: vllm, {self.use}")

    def capacities(self, defaults: SchedulerSettings) -> Capacities:
        """Search the capacity@90 of stock vLLM on each workload. A swing has that of the steady mix.

        Raises StageError where the capacity of the mix lies below the bounds of the search.
        """
        params = self.params
        found: dict[str, float] = {}
        with tqdm(desc="tune: capacity", unit="run") as bar:  # type: tqdm[Any]
            for workload in (name for name in params.workloads if name != MIX_SWING):
                attainments = self._attainments(workload, defaults, bar)
                low, high = params.capacity_low, params.capacity_high
                if workload != MIX:  # other sessions may be far from the bounds of the mix
                    low, high = bracket(attainments, low)
                unit = capacity(attainments, low, high, params.capacity_rounds)
                if unit is None and workload == MIX:
                    raise StageError(
                        f"tune: stock vLLM misses the SLO at every rate from {low} sessions/s on; "
                        "lower tune.capacity_low in params.yaml"
                    )
                found[workload] = low if unit is None else unit
        return {**found, MIX_SWING: found[MIX]} if MIX in found else found

    def _attainments(
        self, workload: str, defaults: SchedulerSettings, bar: "tqdm[Any]"
    ) -> Callable[[Sequence[float]], list[float]]:
        def attainments(rates: Sequence[float]) -> list[float]:
            scenario = Scenario(workload, 1.0, 0)
            futures = [self.submit(self.cell(scenario, rate, VLLM.name, defaults)) for rate in rates]
            shares = [future.result()["attainment"] for future in futures]
            bar.update(len(rates))
            return shares

        return attainments


def collect(futures: Mapping[Key, "Future[dict[str, float]]"], description: str) -> dict[Key, Metrics]:
    """Wait for simulations under a progress bar."""
    items: Iterable[tuple[Key, Future[dict[str, float]]]] = tqdm(futures.items(), desc=description, unit="run")
    return {key: future.result() for key, future in items}
