"""Which tables predict this server best: those of the training set that it resembles, or none beside the forests."""

import numpy as np

from ...models.serving.predictor import Rows
from ...models.serving.target import QUANTILES
from ...models.serving.tool_tables import FOREST, ToolTables

DECAY = 0.999  # weight of the earlier losses at a new outcome: about the last thousand count
FEW = 30
"""Outcomes before the first choice. Until then a single training set is taken, and of several none."""
_QUANTILES = np.asarray(QUANTILES, np.float32)


class Recognition:
    """Follows the recent pinball losses of every choice of tables; the least one predicts the next turns.

    The losses are on log scale, where one long pause does not decide alone. An outcome costs about 10 µs.
    """

    def __init__(self, tables: ToolTables) -> None:
        self._tables = tables
        self.reset()

    def reset(self) -> None:
        """Forget all outcomes."""
        choices = self._tables.choices
        self.choice = FOREST + 1 if choices == FOREST + 2 else FOREST
        self._losses = np.zeros(choices)
        self._observed = 0

    def observe(self, table: str, predicted: Rows, row: int, actual: float) -> None:
        """Learn from an outcome above 0. `predicted`: the forest's quantiles, shape (quantiles,); `row`: the tool's."""
        if len(self._losses) == FOREST + 1:
            return
        error = np.log(np.float32(actual)) - np.log(self._tables.every(table, predicted, row))
        self._losses *= DECAY
        self._losses += np.maximum(_QUANTILES * error, (_QUANTILES - 1) * error).sum(axis=1)
        self._observed += 1
        if self._observed >= FEW:
            self.choice = int(np.argmin(self._losses))
