"""What is left on the table, for the report: a far larger model, less data, and sets never trained on.

Run by `python -m experiments.learning_curve` after `dvc repro prepare`: minutes, and nothing is deployed of it.
Writes reports/train/{upper,transfer,learning_curve}.csv, all on the held-out sessions; and coverage.csv, on all: the
held-out ones of a set are few, and luck with them moves the coverage of an interval by several points.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from augserve.data.tables.splits import position
from augserve.models.learning.cross_fit import FOLDS, Learned, learn, session_folds
from augserve.models.learning.evaluation import evaluate, quantile_metrics
from augserve.models.learning.forest import FitSettings
from augserve.models.learning.training_set import TrainingError, TrainingSet, read_training_set, read_unknown_tools
from augserve.models.serving.target import QUANTILE_TARGETS, QUANTILES, TOOL_DURATION
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.train.reports import write_csv
from augserve.pipeline.train.run import fit_settings

logger = logging.getLogger(__name__)

SHARES = (0.125, 0.25, 0.5, 1.0)  # of the sessions learned from
UPPER: dict[str, Any] = {
    "max_rounds": 400,
    "max_rounds_only_forest": 400,
    "max_rounds_probability": 400,
    "early_stopping_rounds": 30,
    "learning_rate": 0.05,
    "learning_rate_probability": 0.05,
    "max_depth": 8,
    "max_depth_shared_trees": 8,
    "min_child_weight": 10.0,
}
_COVERAGE = ("rows", "sessions", "coverage_80", "coverage_80_low", "coverage_80_high")
_SHOWN = ("kendall_tau", "mae", "median_ratio", "pinball_p90", "coverage_80")


def main() -> None:
    settings = fit_settings()
    sets = [read_training_set(paths.TRAINING / f"{target.name}.parquet", target) for target in QUANTILE_TARGETS]
    write_csv(paths.TRAINING_REPORTS / "learning_curve.csv", pd.DataFrame(learning_curve(sets, settings)))
    write_csv(paths.TRAINING_REPORTS / "transfer.csv", pd.DataFrame(transfer(sets, settings)))
    write_csv(paths.TRAINING_REPORTS / "upper.csv", pd.DataFrame(upper_reference(sets, settings)))
    unknown = read_unknown_tools(paths.TRAINING)
    write_csv(paths.TRAINING_REPORTS / "coverage.csv", pd.DataFrame(coverage(sets, settings, unknown)))


def learning_curve(sets: Sequence[TrainingSet], settings: FitSettings) -> Iterator[dict[str, Any]]:
    """Metrics by the share of the sessions learned from: does more data help, or only better features?"""
    for share in tqdm(SHARES, desc="learning curve"):
        fewer = [data.select(_kept(data, share)) for data in sets]
        yield from _judged(sets, _learned(fewer, settings), {"share": share})


def transfer(sets: Sequence[TrainingSet], settings: FitSettings) -> Iterator[dict[str, Any]]:
    """Metrics on every set of models that were learned from one set alone."""
    for source in tqdm(sorted({str(name) for data in sets for name in np.unique(data.sources)}), desc="transfer"):
        alone = [data.select(data.sources == source) for data in sets if (data.sources == source).any()]
        yield from _judged(sets, _learned(alone, settings), {"trained_on": source})


def upper_reference(sets: Sequence[TrainingSet], settings: FitSettings) -> Iterator[dict[str, Any]]:
    """Metrics of models many times larger than those that are deployed: what would they gain?"""
    with tqdm(total=sum(len(data.target.forests) for data in sets), desc="upper reference", unit="forest") as progress:
        learned = learn(sets, dataclasses.replace(settings, **UPPER), progress.update)
    yield from _judged(sets, learned, {"model": "upper reference"})


def coverage(
    sets: Sequence[TrainingSet], settings: FitSettings, unknown: TrainingSet | None
) -> Iterator[dict[str, Any]]:
    """How often the 80 % intervals hold on all sessions of a set: each in its turn is held out, with a fourth of the
    others, from all that is learned and calibrated. `unknown`: rows of tools never seen, for the durations."""
    for data in tqdm(sets, desc="coverage", unit="target"):
        folds = session_folds(data, "coverage: ")
        fold_of = dict(zip(_sessions(data), folds.tolist(), strict=True))
        more = unknown if data.target is TOOL_DURATION else None
        predicted = np.empty((len(data), len(QUANTILES)), np.float32)
        for fold in range(FOLDS):
            out = folds == fold
            of_more = None
            if more is not None:
                of_more = _held_out(more, np.array([fold_of[session] == fold for session in _sessions(more)]))
            (one,) = learn([_held_out(data, out)], settings, unknown=of_more)
            predicted[out] = one.models.predict(data.rows[out])
        for source in np.unique(data.sources).tolist():
            of_source = data.sources == source
            found = evaluate(predicted[of_source], data.select(of_source), data.select(of_source))
            yield {"set": source, "target": data.target.name} | {name: found.get(name) for name in _COVERAGE}


def _sessions(data: TrainingSet) -> list[tuple[str, str]]:
    return list(zip(data.sources.tolist(), data.sessions.tolist(), strict=True))


def _held_out(data: TrainingSet, out: NDArray[np.bool_]) -> TrainingSet:
    """The same rows with those of `out` as the test part, and no others."""
    learned = np.where(data.parts == "test", "train", data.parts)
    return dataclasses.replace(data, parts=np.where(out, "test", learned))


def _learned(sets: Sequence[TrainingSet], settings: FitSettings) -> list[Learned]:
    """Those that can be learned: a set without rows in a part of the split is left out with a line in the log."""
    found = []
    for data in sets:
        try:
            found += learn([data], settings)
        except TrainingError as error:
            logger.warning("left out: %s", error)
    return found


def _kept(data: TrainingSet, share: float) -> NDArray[np.bool_]:
    """All test rows, and the others of about `share` of the sessions, chosen by a hash; at least one a part."""
    places = {session: position(session, "curve: ") for session in np.unique(data.sessions).tolist()}
    place = np.array([places[session] for session in data.sessions.tolist()])
    kept = (place < share) | (data.parts == "test")
    for source in np.unique(data.sources).tolist():
        for part in ("train", "validation"):
            mask = (data.sources == source) & (data.parts == part)
            if mask.any():
                kept |= mask & (place == place[mask].min())
    return np.asarray(kept, np.bool_)


def _judged(sets: Sequence[TrainingSet], learned: Sequence[Learned], facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    tests = {data.target.name: data.part("test") for data in sets}
    for one in learned:
        test = tests[one.models.target.name]
        predicted = one.models.predict(test.rows)
        for source in np.unique(test.sources).tolist():
            keep = (test.sources == source) & ~test.censored
            if keep.any():
                metrics = quantile_metrics(predicted[keep], np.maximum(test.values[keep], test.target.floor))
                row = {"set": source, "target": test.target.name, **facts, "rows": int(np.count_nonzero(keep))}
                yield row | {name: np.nan if metrics[name] is None else metrics[name] for name in _SHOWN}


if __name__ == "__main__":
    run_stage(main)
