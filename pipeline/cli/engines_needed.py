"""The search for the number of engines that a policy needs on one kind of engine.

A run of the whole fleet takes minutes. So runs of one engine with its share of the agents narrow the number first.
"""

import dataclasses
from collections.abc import Callable
from functools import cache

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
    metrics: Metrics  # with `engines`, or with the most that were tried


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The search for one policy on one kind of engine. `cell` has a number of agents."""

    cell: Cell
    share: float
    most: int
    seeds: int

    def search(self, submit: Submit) -> Need:
        @cache
        def measured(engines: int) -> Metrics:
            fleet = dataclasses.replace(self.cell.fleet, replicas=engines)
            return self._measured(submit, dataclasses.replace(self.cell, fleet=fleet), self.seeds)

        def least(metric: str, guess: int) -> int | None:
            return least_engines(self._reaches(measured, metric), self.most, guess)

        engines = least("attainment", self._guess(submit))
        low, high = (least(metric, engines or self.most) for metric in ("attainment_high", "attainment_low"))
        return Need(self.cell, engines, low, high, measured(engines or self.most))

    def _guess(self, submit: Submit) -> int:
        """The number of engines by runs of one, which serves its share of the agents."""
        agents = self.cell.agents or 1

        @cache
        def alone(agents: int) -> Metrics:
            return self._measured(submit, dataclasses.replace(self.cell, agents=agents), 1)

        reaches = self._reaches(lambda engines: alone(-(-agents // engines)), "attainment")
        most = min(self.most, agents)
        return least_from_above(reaches, most) or most

    def _reaches(self, measured: Callable[[int], Metrics], metric: str) -> Callable[[int], bool]:
        return lambda engines: measured(engines).get(metric, 0.0) >= self.share

    def _measured(self, submit: Submit, cell: Cell, seeds: int) -> Metrics:
        cells = [dataclasses.replace(cell, seed=cell.seed + number) for number in range(seeds)]
        runs = [future.result() for future in [submit(one) for one in cells]]
        return cells_of({cell.policy: runs}, cell.seed)[cell.policy]
