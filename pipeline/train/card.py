"""The model card `reports/train/card.md`: training data, quality on each set and weak spots, as tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.atomic import write_text
from ...features import feature
from ...models.learning.evaluation import Metrics, calibration_curve
from ...models.learning.forest import FitSettings
from ...models.learning.target_models import importance
from ...models.learning.training_set import group_counts
from ...models.serving.target import QUANTILES, TOOL_DURATION
from ..project import paths
from ..results.figures import svg_figure
from .reports import FOREST, MODEL, TABLE, markdown
from .trained import Trained, complete_rows

CARD = paths.TRAINING_REPORTS / "card.md"
TEMPLATE = Path(__file__).with_name("card.md")
SHOWN_FEATURES = 10
CALIBRATED = (0.76, 0.84)  # accepted coverage of an 80 % interval
WORSE = 1.02  # a blend's loss over the lesser of its parts' from which it counts as worse
WORST_TOOLS, WORST_TOOL_ROWS = 3, 10
QUALITY = ("kendall_tau", "mae", "mae_baseline", "median_ratio", "pinball_p90", "pinball_p90_baseline")
COVERAGE = ("coverage_80", "coverage_80_low", "coverage_80_high", "rows", "sessions")

HeldOutMetrics = Mapping[str, Mapping[str, Metrics]]


def write_card(
    trained: Sequence[Trained], metrics: HeldOutMetrics, tables: Mapping[str, pd.DataFrame], settings: FitSettings
) -> None:
    """Write the card and its two figures. `tables`: those of reports.py, by name."""
    _draw_importance(trained, paths.TRAINING_REPORTS / "importance.svg")
    _draw_calibration(
        [part for part in trained if part.data.target.kind == "quantiles"], paths.TRAINING_REPORTS / "calibration.svg"
    )
    quality = _table(metrics, *QUALITY, *COVERAGE)
    unknown_tools = _table(metrics, "coverage_80_unknown_tool", "log_width_unknown_tool", "log_width")
    probabilities = _table(metrics, "brier", "brier_baseline", "auc", "calibration_error")
    blends = stacking(tables["baselines"])
    shown = {
        "data": _rows(trained),
        "quality": quality,
        "unknown_tools": unknown_tools,
        "probabilities": probabilities,
        "stacking": blends,
        "weak": weak(quality),
        "worst_tools": _worst_tools(tables["by_tool"]),
    }
    values = {name: markdown(table) for name, table in shown.items()}
    worse = blends.filter(like="_ratio") > WORSE
    values["worse"] = f"{int(worse.to_numpy().sum())} of {worse.size}"
    values["settings"] = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(settings).items())
    template = TEMPLATE.read_text(encoding="utf-8")
    write_text(CARD, template.format(version=feature.VERSION, **values))


def stacking(baselines: pd.DataFrame) -> pd.DataFrame:
    """The blend's losses over the lesser of the forest's and the table's, by set and target. MAE is p50's loss."""
    losses = {model: rows.set_index(["set", "target"]) for model, rows in baselines.groupby("model", sort=False)}
    ratios = {}
    for name in ("pinball_p10", "mae", "pinball_p90"):
        best = np.minimum(losses[FOREST][name], losses[TABLE][name])
        ratios[f"{name}_forest"] = losses[FOREST][name] / best
        ratios[f"{name}_table"] = losses[TABLE][name] / best
        ratios[f"{name}_ratio"] = losses[MODEL][name] / best
    return pd.DataFrame(ratios).reset_index()


def weak(quality: pd.DataFrame) -> pd.DataFrame:
    """The rows without a lower error than the baseline, or with a coverage outside CALIBRATED."""
    worse = (quality.mae >= quality.mae_baseline) | (quality.pinball_p90 >= quality.pinball_p90_baseline)
    return quality[worse | ~quality.coverage_80.between(*CALIBRATED)]


def _worst_tools(by_tool: pd.DataFrame) -> pd.DataFrame:
    durations = by_tool[(by_tool.target == TOOL_DURATION.name) & (by_tool.rows >= WORST_TOOL_ROWS)]
    return durations.nlargest(WORST_TOOLS, "median_ratio")[["set", "tool", "rows", "median_ratio"]]


def _rows(trained: Sequence[Trained]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "target": part.data.target.name,
            "set": source,
            "censored": int(part.data.censored[part.data.sources == source].sum()),
            **{name: counts.get(name, 0) for name in ("train", "validation", "test")},
        }
        for part in trained
        for source, counts in group_counts(part.data).items()
    )


def _table(metrics: HeldOutMetrics, *names: str) -> pd.DataFrame:
    """These metrics by set and target, for the targets that have the first of them."""
    rows = [
        {"set": name, "target": target} | {metric: values.get(metric) for metric in names}
        for name, of_target in metrics.items()
        for target, values in of_target.items()
        if names[0] in values and names[-1] in values
    ]
    table = pd.DataFrame(rows, columns=["set", "target", *names])
    return table.astype(dict.fromkeys(names, float))


def _draw_importance(trained: Sequence[Trained], path: Path) -> None:
    with svg_figure(path, 3.4 * len(trained), 3.2, columns=len(trained)) as (_, axes):
        for axis, part in zip(axes[0], trained, strict=True):
            shares = sorted(importance(part.learned.models).items(), key=lambda item: item[1])[-SHOWN_FEATURES:]
            axis.barh([name for name, _ in shares], [share for _, share in shares], color="#4477aa")
            axis.set_title(part.data.target.name)
            axis.tick_params(labelsize=7)


def _draw_calibration(trained: Sequence[Trained], path: Path) -> None:
    with svg_figure(path, 3.4 * len(trained), 2.8, columns=len(trained)) as (_, axes):
        for axis, part in zip(axes[0], trained, strict=True):
            axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
            for rows in complete_rows([part]):
                observed = list(calibration_curve(rows.predicted, rows.actual).values())
                axis.plot(QUANTILES, observed, "o-", markersize=3, label=rows.source)
            axis.set_title(part.data.target.name)
            axis.tick_params(labelsize=7)
            axis.legend(fontsize=6)
