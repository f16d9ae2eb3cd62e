"""What `train` writes beside its metrics: tables for plots, rivals, tools and deciles of length."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...data.atomic import atomic_file, write_text
from ...models.learning.baselines import baselines, point_quantiles, tool_quantiles
from ...models.learning.evaluation import calibration_curve, quantile_metrics
from ...models.learning.forest import FitSettings
from ...models.learning.target_models import importance
from ...models.serving.target import QUANTILES
from .trained import REPORTS, Trained

PLOTTED_ROWS = 100  # of each set and target
MODEL = "augserve"
DECILES = 10
MIN_TOOL_ROWS = 5
_SHOWN = ("kendall_tau", "mae", "median_absolute_error", "median_ratio", "pinball_p10", "pinball_p90", "coverage_80")


def write_reports(trained: Sequence[Trained], settings: FitSettings) -> None:
    """Write them into reports/train; of the held-out sessions only, and only values that are known."""
    with_quantiles = [one for one in trained if one.data.target.kind == "quantiles"]
    write_csv(REPORTS / "predictions.csv", pd.concat(_samples(with_quantiles, settings.seed)))
    write_csv(REPORTS / "calibration.csv", pd.DataFrame(_calibration(with_quantiles)))
    write_csv(REPORTS / "importance.csv", pd.DataFrame(_importance(trained)))
    write_csv(REPORTS / "by_tool.csv", pd.DataFrame(_by_tool(with_quantiles)))
    write_csv(REPORTS / "by_decile.csv", pd.DataFrame(_by_decile(with_quantiles)))
    rivals = pd.DataFrame(_rivals(with_quantiles))
    write_csv(REPORTS / "baselines.csv", rivals)
    write_text(REPORTS / "baselines.md", markdown(rivals))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown; numbers with four digits, a dash where there is none."""
    rows = [[_cell(value) for value in row] for row in table.to_numpy()]
    header = [str(name) for name in table.columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def known_rows(one: Trained, source: str) -> tuple[Any, Any, Any]:
    """A set's test rows with known values: the rows, what is predicted of them, and their values from the floor on."""
    test, predicted = one.of_source(source)
    keep = ~test.censored
    if not keep.any():
        return None, None, None
    test = test.select(keep)
    return test, predicted[keep], np.maximum(test.values, test.target.floor)


def _each(trained: Iterable[Trained]) -> Iterator[tuple[Trained, str, Any, Any, Any]]:
    for one in trained:
        for source in one.sources:
            test, predicted, actual = known_rows(one, source)
            if test is not None:
                yield one, source, test, predicted, actual


def _samples(trained: Sequence[Trained], seed: int) -> Iterator[pd.DataFrame]:
    generator = np.random.default_rng(seed)
    for one, source, test, predicted, _ in _each(trained):
        chosen = np.sort(generator.permutation(len(test))[:PLOTTED_ROWS])
        columns = {f"p{round(q * 100)}": predicted[chosen, index] for index, q in enumerate(QUANTILES)}
        yield pd.DataFrame(
            {"target": one.data.target.name, "set": source, "actual": test.values[chosen]} | columns,
        )


def _calibration(trained: Sequence[Trained]) -> Iterator[dict[str, Any]]:
    for one, source, _, predicted, actual in _each(trained):
        for quantile, observed in calibration_curve(predicted, actual).items():
            yield {"target": one.data.target.name, "set": source, "quantile": quantile, "observed": observed}


def _importance(trained: Sequence[Trained]) -> Iterator[dict[str, Any]]:
    for one in trained:
        for name, share in importance(one.learned.models).items():
            yield {"target": one.data.target.name, "feature": name, "gain_share": share}


def _by_tool(trained: Sequence[Trained]) -> Iterator[dict[str, Any]]:
    for one, source, test, predicted, actual in _each(trained):
        for tool in np.unique(test.groups).tolist():
            mask = test.groups == tool
            if np.count_nonzero(mask) >= MIN_TOOL_ROWS:
                facts = {"target": one.data.target.name, "set": source, "tool": tool}
                yield facts | _some(quantile_metrics(predicted[mask], actual[mask]))


def _by_decile(trained: Sequence[Trained]) -> Iterator[dict[str, Any]]:
    """Deciles of the actual value: where long ones are foretold as short ones, and the reverse."""
    for one, source, _, predicted, actual in _each(trained):
        edges = np.quantile(actual, np.arange(1, DECILES) / DECILES)
        decile = np.searchsorted(edges, actual, side="left")
        for number in np.unique(decile).tolist():
            mask = decile == number
            facts = {"target": one.data.target.name, "set": source, "decile": number + 1}
            middle = {
                "median_actual": float(np.median(actual[mask])),
                "median_p50": float(np.median(predicted[mask, 1])),
            }
            yield facts | middle | _some(quantile_metrics(predicted[mask], actual[mask]))


def _rivals(trained: Sequence[Trained]) -> Iterator[dict[str, Any]]:
    """The models beside every baseline, in one table."""
    for one in trained:
        known, target = one.learned.training, one.data.target
        answers = {name: point_quantiles(point, known, one.test) for name, point in baselines(target).items()}
        answers["quantiles of the tool"] = tool_quantiles(known, one.test)
        for source in one.sources:
            keep = (one.test.sources == source) & ~one.test.censored
            if not keep.any():
                continue
            actual = np.maximum(one.test.values[keep], target.floor)
            for name, predicted in ({MODEL: one.predicted} | answers).items():
                facts = {"set": source, "target": target.name, "model": name}
                yield facts | _some(quantile_metrics(predicted[keep], actual))


def _some(metrics: dict[str, float | None]) -> dict[str, Any]:
    return {"rows": int(metrics["rows"] or 0)} | {
        name: np.nan if metrics[name] is None else metrics[name] for name in _SHOWN
    }
