"""Tables of `reports/train`: samples, calibration, importance, baselines, and quality by tool and by decile."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...data.atomic import atomic_file, write_text
from ...models.learning.baselines import baselines, point_quantiles, tool_quantiles
from ...models.learning.evaluation import Metrics, calibration_curve, quantile_metrics
from ...models.learning.target_models import importance
from ...models.serving.target import QUANTILES
from ..project import paths
from .trained import Trained, complete_rows

PLOTTED_ROWS = 100  # of each set and target
MODEL, FOREST, TABLE = "augserve", "forest alone", "quantiles of the tool"
DECILES = 10
MIN_TOOL_ROWS = 5
_SHOWN = ("kendall_tau", "mae", "median_absolute_error", "median_ratio", "pinball_p10", "pinball_p90", "coverage_80")
Rows = Iterator[dict[str, Any]]


def write_reports(trained: Sequence[Trained], seed: int) -> Mapping[str, pd.DataFrame]:
    """Write the tables, of complete values in held-out sessions, and return them by name."""
    with_quantiles = [part for part in trained if part.data.target.kind == "quantiles"]
    tables = {
        "predictions": pd.concat(_samples(with_quantiles, seed)),
        "calibration": pd.DataFrame(_calibration(with_quantiles)),
        "importance": pd.DataFrame(_importance(trained)),
        "by_tool": pd.DataFrame(_by_tool(with_quantiles)),
        "by_decile": pd.DataFrame(_by_decile(with_quantiles)),
        "baselines": pd.DataFrame(_baselines(with_quantiles)),
    }
    for name, table in tables.items():
        write_csv(paths.TRAINING_REPORTS / f"{name}.csv", table)
    write_text(paths.TRAINING_REPORTS / "baselines.md", markdown(tables["baselines"]))
    return tables


def write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown: four digits, a dash for a missing value."""
    cells = table.map(lambda cell: ("–" if np.isnan(cell) else f"{cell:.4g}") if isinstance(cell, float) else str(cell))
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1], *cells.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _samples(trained: Sequence[Trained], seed: int) -> Iterator[pd.DataFrame]:
    generator = np.random.default_rng(seed)
    for rows in complete_rows(trained):
        chosen = np.sort(generator.permutation(len(rows.data))[:PLOTTED_ROWS])
        columns = {f"p{round(q * 100)}": rows.predicted[chosen, index] for index, q in enumerate(QUANTILES)}
        yield pd.DataFrame({**rows.names, "actual": rows.data.values[chosen], **columns})


def _calibration(trained: Sequence[Trained]) -> Rows:
    for rows in complete_rows(trained):
        for quantile, observed in calibration_curve(rows.predicted, rows.actual).items():
            yield {**rows.names, "quantile": quantile, "observed": observed}


def _importance(trained: Sequence[Trained]) -> Rows:
    for part in trained:
        for name, share in importance(part.learned.models).items():
            yield {"target": part.data.target.name, "feature": name, "gain_share": share}


def _by_tool(trained: Sequence[Trained]) -> Rows:
    for rows in complete_rows(trained):
        for tool in np.unique(rows.data.groups).tolist():
            mask = rows.data.groups == tool
            if np.count_nonzero(mask) >= MIN_TOOL_ROWS:
                metrics = quantile_metrics(rows.predicted[mask], rows.actual[mask])
                yield {**rows.names, "tool": tool, **_shown(metrics)}


def _by_decile(trained: Sequence[Trained]) -> Rows:
    """By decile of the actual value: long values predicted short, and the reverse."""
    for rows in complete_rows(trained):
        edges = np.quantile(rows.actual, np.arange(1, DECILES) / DECILES)
        decile = np.searchsorted(edges, rows.actual, side="left")
        for number in np.unique(decile).tolist():
            predicted, actual = rows.predicted[decile == number], rows.actual[decile == number]
            medians = {"median_actual": float(np.median(actual)), "median_p50": float(np.median(predicted[:, 1]))}
            yield {**rows.names, "decile": number + 1, **medians, **_shown(quantile_metrics(predicted, actual))}


def _baselines(trained: Sequence[Trained]) -> Rows:
    """The models and every baseline, on the same rows."""
    for part in trained:
        train, target = part.learned.training, part.data.target
        predictions = {MODEL: part.predicted, FOREST: part.forest}
        predictions |= {name: point_quantiles(point, train, part.test) for name, point in baselines(target).items()}
        predictions[TABLE] = tool_quantiles(train, part.test)
        for rows in complete_rows([part]):
            for name, predicted in predictions.items():
                metrics = quantile_metrics(predicted[rows.mask], rows.actual)
                yield {"set": rows.source, "target": target.name, "model": name, **_shown(metrics)}


def _shown(metrics: Metrics) -> dict[str, Any]:
    values = {name: np.nan if metrics[name] is None else metrics[name] for name in _SHOWN}
    return {"rows": int(metrics["rows"] or 0), **values}
