"""The evidence of a cell: its metrics, its samples for intervals and distributions, and its token budget and KV usage
over time. All values are plain lists, for other processes and JSON files."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..errors import SimulationError
from .samples import Samples


@dataclass(frozen=True, slots=True)
class Evidence:
    """The lists over time are parallel."""

    metrics: dict[str, float]
    samples: Samples
    bins_s: list[float]  # starts of the bins with at least one step, virtual seconds
    token_budget: list[float]  # means over the steps of a bin
    kv_usage: list[float]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises SimulationError for another form."""
        whole = _exact(value, cls)
        return cls(**whole | {"samples": Samples(**_exact(whole["samples"], Samples))})


def _exact(value: object, form: type[Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(form)}
    if not isinstance(value, Mapping) or set(value) != names:
        raise SimulationError("cell: the result has another form; simulate the cell again")
    return dict(value)
