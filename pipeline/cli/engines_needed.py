"""The search for the number of engines that a policy needs on one kind of engine.

A run costs as much as it has engines. So runs of one engine with its share of the agents narrow the number first, and a
few engines with their share stand for a large fleet.
"""

import dataclasses
from collections.abc import Callable
from functools import cache

from ..results.columns import STEPS
from ..results.intervals import cells_of
from ..results.metrics_file import Metrics
from ..simulator.cells.cache import Submit
from ..simulator.cells.cell import Cell
from ..simulator.cells.fleet_size import least_engines, least_from_above


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """How many engines a policy needs; None: more than were tried. The bounds are those of a 95 % interval."""

    cell: Cell
    engines: int | None
    low: int | None
    high: int | None
    metrics: Metrics  # of all engines, with `engines` or with the most that were tried


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The search for one policy on one kind of engine. `cell` has a number of agents."""

    cell: Cell
    share: float
    most: int
    seeds: int
    simulated: int  # engines at most; so many, with their share of the agents, stand for more

    def search(self, submit: Submit) -> Need:
        @cache
        def measured(engines: int) -> Metrics:
            return self._measured(submit, engines, self.simulated, self.seeds)

        def least(metric: str, guess: int) -> int | None:
            return least_engines(self._reaches(measured, metric), self.most, guess)

        engines = least("attainment", self._guess(submit))
        low, high = (least(metric, engines or self.most) for metric in ("attainment_high", "attainment_low"))
        return Need(self.cell, engines, low, high, measured(engines or self.most))

    def _guess(self, submit: Submit) -> int:
        """The number of engines by runs of one, which serves its share of the agents."""
        most = min(self.most, self.cell.agents or 1)

        @cache
        def alone(engines: int) -> Metrics:
            return self._measured(submit, engines, 1, 1)

        return least_from_above(self._reaches(alone, "attainment"), most) or most

    def _reaches(self, measured: Callable[[int], Metrics], metric: str) -> Callable[[int], bool]:
        return lambda engines: measured(engines).get(metric, 0.0) >= self.share

    def _measured(self, submit: Submit, engines: int, simulated: int, seeds: int) -> Metrics:
        """The metrics of so many engines; those per minute are scaled from the simulated ones."""
        replicas, all_agents = min(engines, simulated), self.cell.agents or 1
        agents = -(-all_agents * replicas // engines)
        fleet = dataclasses.replace(self.cell.fleet, replicas=replicas)
        cells = [
            dataclasses.replace(self.cell, agents=agents, fleet=fleet, seed=self.cell.seed + number)
            for number in range(seeds)
        ]
        runs = [future.result() for future in [submit(one) for one in cells]]
        metrics = cells_of({self.cell.policy: runs}, self.cell.seed)[self.cell.policy]
        return metrics | {STEPS: metrics[STEPS] * all_agents / agents}
