"""Trained models with what they say of the sessions held out: what reports and cards are made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...models.learning.cross_fit import Learned, learn
from ...models.learning.evaluation import Metrics, evaluate, quantile_metrics
from ...models.learning.forest import FitSettings
from ...models.learning.training_set import TrainingSet
from ...models.serving.target import TOOL_DURATION

REPORTS = Path("reports/train")
_EXPECTED = [part.name for part in TOOL_DURATION.features].index("expected")


@dataclass(frozen=True, slots=True)
class Trained:
    """A target's models, and what they say of the test part."""

    data: TrainingSet
    test: TrainingSet
    learned: Learned
    predicted: NDArray[np.float32]
    unknown: TrainingSet | None = None  # rows of the test part as if of tools never seen

    def of_source(self, source: str) -> tuple[TrainingSet, NDArray[np.float32]]:
        mask = self.test.sources == source
        return self.test.select(mask), self.predicted[mask]

    def learned_of(self, source: str) -> TrainingSet:
        """What was learned from of a set; where all its rows of this target are in the test part, of all sets."""
        known = self.learned.training
        mine = known.sources == source
        return known.select(mine) if mine.any() else known

    @property
    def sources(self) -> list[str]:
        """The sets that the test part has rows of."""
        return [str(source) for source in np.unique(self.test.sources)]


def train(sets: Iterable[TrainingSet], settings: FitSettings, unknown: TrainingSet | None = None) -> list[Trained]:
    """Learn every set's target; `unknown`: further rows of its target, as if of tools never seen. Raises TrainingError
    where a part of the split is empty."""
    todo = list(sets)
    with tqdm(total=sum(len(data.target.forests) for data in todo), desc="train", unit="forest") as progress:
        found = learn(todo, settings, progress.update, unknown)
    trained = []
    for data, learned in zip(todo, found, strict=True):
        test = data.part("test")
        held_out = None
        if unknown is not None and unknown.target is data.target and (unknown.parts == "test").any():
            held_out = unknown.part("test")
        trained.append(Trained(data, test, learned, learned.models.predict(test.rows), held_out))
    return trained


def _at_call(test: TrainingSet, predicted: NDArray[np.float32], learned: TrainingSet) -> Metrics:
    """The metrics once more of calls that are known, tool and arguments, and not only expected at a turn's arrival."""
    known, learned_known = (data.rows[:, _EXPECTED] == 0 for data in (test, learned))
    if not known.any() or not learned_known.any():
        return {}
    found = evaluate(predicted[known], test.select(known), learned.select(learned_known))
    return {f"{name}_at_call": value for name, value in found.items()}


def _unknown_tool(one: Trained, source: str) -> Metrics:
    """Of calls as if of tools never seen: how often the interval holds, and how wide it is beside that of the calls as
    they are, both as the median of log(p90 / p10)."""
    if one.unknown is None or not (mask := (one.unknown.sources == source) & ~one.unknown.censored).any():
        return {}
    rows = one.unknown.select(mask)
    predicted = one.learned.models.predict(rows.rows)
    known = one.of_source(source)[1]
    return {
        "coverage_80_unknown_tool": quantile_metrics(predicted, np.maximum(rows.values, rows.target.floor))[
            "coverage_80"
        ],
        "log_width_unknown_tool": float(np.median(log_width(predicted))),
        "log_width": float(np.median(log_width(known))),
    }


def log_width(predicted: NDArray[np.float32]) -> NDArray[np.float64]:
    """How wide each 80 % interval is, shape (n,): log(p90 / p10)."""
    return np.log(predicted[:, -1].astype(np.float64) / predicted[:, 0])


def held_out_metrics(trained: Iterable[Trained]) -> dict[str, dict[str, Metrics]]:
    """{set: {target: {metric: value}}} on the test part; a target without rows of a set is left out there."""
    metrics: dict[str, dict[str, Metrics]] = {}
    for one in trained:
        for source in one.sources:
            test, predicted = one.of_source(source)
            learned = one.learned_of(source)
            found = evaluate(predicted, test, learned)
            if one.data.target is TOOL_DURATION:
                found |= _at_call(test, predicted, learned) | _unknown_tool(one, source)
            metrics.setdefault(source, {})[one.data.target.name] = found
    return metrics
