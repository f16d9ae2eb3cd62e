"""Quantiles by tool, as each training set had them, and how far the forests are to be believed beside them.

A prediction is a convex blend on log scale, `share · forest + (1 - share) · table`, with the shares of the training set
that the server resembles. A tool that no table knows is predicted by the forest alone. The tables hold keyed hashes
for the tools' names; the key is stored beside them, so they hide names from a reader, not from one who guesses them.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .target import LOG_CEILING, QUANTILE_TARGETS, QUANTILES, TOOL_DURATION

Rows = NDArray[np.float32]

NO_TOOL = "none"
"""Stands for the tool of a turn before any tool call."""
EXPECTED_DURATION = f"{TOOL_DURATION.name}_expected"
"""Table of the calls that are only expected at a turn's arrival; TOOL_DURATION's own is of known calls."""
TABLES = (*(target.name for target in QUANTILE_TARGETS), EXPECTED_DURATION)
FOREST = 0
"""Number of the choice without tables; the training sets follow in the order of their names."""
UNKNOWN = 0  # row of the tools without a table
_MOST_CELLS = 2**17  # choices times tools
_KEY_BYTES = 16
_REMEDY = "export the models again with this release"


class TableError(ValueError):
    """Tables are unusable; the message names the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class ToolTable:
    """One quantity in one training set."""

    shares: tuple[float, ...]  # of the forest, by quantile, 0 to 1
    quantiles: Mapping[str, tuple[float, ...]]  # hash of the tool → logs, non-decreasing


@dataclass(frozen=True)
class ToolTables:
    """`sets`: training set → name of a table → table."""

    key: bytes = bytes(_KEY_BYTES)
    sets: Mapping[str, Mapping[str, ToolTable]] = field(default_factory=dict)

    def hashed(self, tool: str | None) -> str:
        name = (NO_TOOL if tool is None else tool).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(name, key=self.key, digest_size=8).hexdigest()

    def row(self, tool: str | None) -> int:
        """Number of the tool in `blended`; UNKNOWN without a table of it."""
        return self._rows.get(self.hashed(tool), UNKNOWN)

    @property
    def choices(self) -> int:
        """The number of choices, FOREST among them."""
        return len(self.sets) + 1

    def number(self, name: str) -> int:
        """The choice of a training set; FOREST for a set without tables."""
        return self._names.index(name) + 1 if name in self.sets else FOREST

    def blended(self, table: str, choice: int, predicted: Rows, rows: NDArray[np.int64]) -> Rows:
        """The forest's quantiles of n turns or calls with the table's, shape (n, quantiles). `rows`: of their tools."""
        if choice == FOREST:
            return predicted
        logs, shares = self._arrays[table]
        return blend(predicted, logs[choice, rows], shares[choice, rows])

    def every(self, table: str, predicted: Rows, row: int) -> Rows:
        """The quantiles of one turn or call by each choice, shape (choices, quantiles). `predicted`: (quantiles,)."""
        logs, shares = self._arrays[table]
        return blend(predicted[None, :], logs[:, row], shares[:, row])

    def render(self, tables: Iterable[str]) -> str:
        """The tables of these names as JSON."""
        names = set(tables)
        sets = {
            name: {
                table: {"shares": part.shares, "tools": dict(part.quantiles)}
                for table, part in of_set.items()
                if table in names
            }
            for name, of_set in self.sets.items()
        }
        return json.dumps({"key": self.key.hex(), "sets": sets}, sort_keys=True)

    @classmethod
    def parse(cls, contents: Iterable[str | bytes]) -> Self:
        """Join what `render` has written with one key. Raises TableError for anything else."""
        key, sets = bytes(_KEY_BYTES), dict[str, dict[str, ToolTable]]()
        try:
            for content in contents:
                value = json.loads(content)
                key = bytes.fromhex(value["key"])
                for name, of_set in value["sets"].items():
                    sets.setdefault(name, {}).update({table: _table(table, part) for table, part in of_set.items()})
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise TableError(f"not tables of tools ({error}); {_REMEDY}") from error
        tables = cls(key, sets)
        if len(key) != _KEY_BYTES or tables.choices * len(tables._rows) > _MOST_CELLS:
            raise TableError(f"tables of tools with a wrong key or too many entries; {_REMEDY}")
        return tables

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self.sets)

    @cached_property
    def _rows(self) -> dict[str, int]:
        tools = {tool for of_set in self.sets.values() for table in of_set.values() for tool in table.quantiles}
        return {tool: number for number, tool in enumerate(sorted(tools), start=UNKNOWN + 1)}

    @cached_property
    def _arrays(self) -> dict[str, tuple[Rows, Rows]]:
        """Logs and shares by table, each of shape (choices, tools, quantiles); a share of 1 where there is no table."""
        return {table: self._array(table) for table in TABLES}

    def _array(self, table: str) -> tuple[Rows, Rows]:
        shape = (self.choices, len(self._rows) + 1, len(QUANTILES))
        logs, shares = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        for choice, name in enumerate(self._names, start=FOREST + 1):
            if (part := self.sets[name].get(table)) is None:
                continue
            for tool, quantiles in part.quantiles.items():
                logs[choice, self._rows[tool]] = quantiles
                shares[choice, self._rows[tool]] = part.shares
        return logs, shares


def blend(predicted: Rows, logs: Rows, shares: Rows) -> Rows:
    """`predicted` and exp(`logs`) with the weights `shares` and 1 - `shares` on log scale, sorted along a row."""
    blended: Rows = np.exp(shares * np.log(predicted) + (1 - shares) * logs)
    blended.sort(axis=1)
    return blended


def _table(name: str, value: Mapping[str, Any]) -> ToolTable:
    if name not in TABLES:
        raise ValueError(f"unknown table {name!r}")
    shares = _numbers(value["shares"], 0.0, 1.0)
    quantiles = {str(tool): _numbers(logs, -LOG_CEILING, LOG_CEILING) for tool, logs in value["tools"].items()}
    if any(list(logs) != sorted(logs) for logs in quantiles.values()):
        raise ValueError(f"quantiles of {name} that decrease")
    return ToolTable(shares, quantiles)


def _numbers(values: Any, least: float, most: float) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != len(QUANTILES) or not all(math.isfinite(part) and least <= part <= most for part in numbers):
        raise ValueError(f"{len(numbers)} numbers, or one outside {least:g} to {most:g}")
    return numbers
