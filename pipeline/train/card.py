"""The model card: what the predictors were learned from, how good they are on which set, and where they are weak."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...data.atomic import atomic_file, write_text
from ...features import feature
from ...models.learning.evaluation import Metrics, calibration_curve, quantile_metrics
from ...models.learning.forest import FitSettings
from ...models.learning.target_models import importance
from ...models.learning.training_set import group_counts
from ...models.serving.target import QUANTILES
from .reports import known_rows, markdown
from .trained import REPORTS, Trained

CARD = REPORTS / "card.md"
SHOWN_FEATURES = 10
_HEAD = """# Model card: AugServe's predictors

Quantiles (p10, p50, p90) of output length, tool duration and the session's remaining turns and tokens, and the
probability that a turn ends in a tool call. XGBoost on log scale; length and duration have one forest for all
quantiles, the others one a quantile. Calibrated by cross-fitted conformal offsets; features of version {version}
(names and meanings in `features/`).

## Data

Rows by set and part; the parts share no session, and nothing was chosen by the test part.
"""
_HELD_OUT = """## Held-out sessions

MAE and pinball loss in the target's unit; the baseline is the per-tool median (p90) of the same set. All rivals:
[baselines.md](baselines.md); by tool and by decile of the value: `by_tool.csv`, `by_decile.csv`. Beside each coverage
its 95 % interval, by a bootstrap over the sessions: the rows of one session hold or miss together.
"""
_LEARNED = """## How it was learned

Settings (params.yaml, section `train`): {settings}.

Values that are only lower bounds (outputs cut at their limit, sessions still open) are moved beyond their bound by a
Kaplan-Meier estimate for fitting, and left out of the metrics. An unknown tool falls back from the tool to its family
to all tools by the features `hierarchy_log_s` and `hierarchy_spread`. That is learned and calibrated from calls of a
quarter of the sessions, once more, each under a name of its own; their intervals are stretched until nine in ten are
no narrower than with the tool known.
"""
_UNKNOWN = """
## Calls of tools never seen

The held-out calls of some sessions, each under a name that nobody had called before (calls that are known and calls
that are only expected). Width: median of log(p90 / p10), beside that of all held-out calls as they are.
"""
COVERAGE = (0.76, 0.84)  # what an 80 % interval may cover on a set and still count as calibrated


def write_card(trained: Sequence[Trained], metrics: Mapping[str, Mapping[str, Metrics]], settings: FitSettings) -> None:
    """Write reports/train/card.md with its two plots."""
    _importance_plot(trained, REPORTS / "importance.svg")
    _calibration_plot(trained, REPORTS / "calibration.svg")
    sections = [
        _HEAD.format(version=feature.VERSION),
        markdown(_data(trained)),
        _HELD_OUT,
        markdown(_quality(metrics)),
        _UNKNOWN,
        markdown(_unknown_tools(metrics)),
        "\n## Probability that a turn ends in a tool call\n",
        markdown(_probabilities(metrics)),
        "\n## Calibration\n\n![Share of values at or below each predicted quantile](calibration.svg)\n",
        "## What the models look at\n\n![Share of the gain of the median's forest](importance.svg)\n",
        "## Known weak spots\n",
        "\n".join(f"- {line}" for line in weak_spots(trained, metrics)) + "\n",
        _LEARNED.format(settings=", ".join(f"{name} {value}" for name, value in _settings(settings))),
    ]
    write_text(CARD, "\n".join(sections))


def weak_spots(trained: Sequence[Trained], metrics: Mapping[str, Mapping[str, Metrics]]) -> list[str]:
    """Where a baseline is as good, an interval is not calibrated, or a tool is badly foretold; by the figures."""
    found = []
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            mae, rival, coverage = (values.get(key) for key in ("mae", "mae_baseline", "coverage_80"))
            if mae is not None and rival is not None and mae >= rival:
                found.append(f"{name}, {target}: MAE {mae:.3g} is not below the per-tool median's {rival:.3g}.")
            p90, rival = values.get("pinball_p90"), values.get("pinball_p90_baseline")
            if p90 is not None and rival is not None and p90 >= rival:
                found.append(
                    f"{name}, {target}: pinball loss at p90 {p90:.3g} is not below the per-tool p90's {rival:.3g}."
                )
            if coverage is not None and not COVERAGE[0] <= coverage <= COVERAGE[1]:
                found.append(f"{name}, {target}: {_coverage_missed(values, coverage)}")
    worst = _worst_tools(trained)
    return [*found, *worst] or ["None found by the rules above."]


def _coverage_missed(values: Metrics, coverage: float) -> str:
    """How far, and whether the held-out sessions are enough to say so."""
    rows, sessions = int(values.get("rows") or 0), int(values.get("sessions") or 0)
    found = f"the 80 % interval covers {coverage:.1%} of {rows} held-out values of {sessions} sessions"
    low, high = values.get("coverage_80_low"), values.get("coverage_80_high")
    if low is None or high is None:
        return f"{found}."
    surely = high < COVERAGE[0] or low > COVERAGE[1]
    meaning = "more than chance" if surely else f"too few to tell from {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}"
    return f"{found} [{low:.0%}–{high:.0%}]: {meaning}."


def _worst_tools(trained: Sequence[Trained], count: int = 3) -> list[str]:
    """The tools whose duration is off by the greatest factor, in the median."""
    rows = []
    for one in trained:
        if one.data.target.name != "tool_duration":
            continue
        for source in one.sources:
            test, predicted, actual = known_rows(one, source)
            for tool in [] if test is None else np.unique(test.groups).tolist():
                mask = test.groups == tool
                if np.count_nonzero(mask) >= 10:
                    rows.append((quantile_metrics(predicted[mask], actual[mask])["median_ratio"] or 0.0, source, tool))
    rows.sort(reverse=True)
    return [
        f"{source}: the duration of {tool} is off by a factor of {ratio:.2g} in the median."
        for ratio, source, tool in rows[:count]
    ]


def _data(trained: Sequence[Trained]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "target": one.data.target.name,
            "set": source,
            "censored": int(one.data.censored[one.data.sources == source].sum()),
        }
        | {part: counts.get(part, 0) for part in ("train", "validation", "test")}
        for one in trained
        for source, counts in group_counts(one.data).items()
    )


def _quality(metrics: Mapping[str, Mapping[str, Metrics]]) -> pd.DataFrame:
    names = ("kendall_tau", "mae", "mae_baseline", "median_ratio", "pinball_p90", "pinball_p90_baseline", "coverage_80")
    return _table(metrics, (*names, "coverage_80_low", "coverage_80_high", "sessions"), "coverage_80")


def _probabilities(metrics: Mapping[str, Mapping[str, Metrics]]) -> pd.DataFrame:
    return _table(metrics, ("auc", "brier", "brier_baseline", "calibration_error"), "brier")


def _unknown_tools(metrics: Mapping[str, Mapping[str, Metrics]]) -> pd.DataFrame:
    names = ("coverage_80_unknown_tool", "log_width_unknown_tool", "log_width")
    return _table(metrics, names, names[0])


def _table(metrics: Mapping[str, Mapping[str, Metrics]], names: Sequence[str], key: str) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"set": name, "target": target}
        | {metric: np.nan if values[metric] is None else values[metric] for metric in names}
        for name, of_target in metrics.items()
        for target, values in of_target.items()
        if key in values
    ]
    return pd.DataFrame(rows, columns=["set", "target", *names])


def _settings(settings: FitSettings) -> list[tuple[str, Any]]:
    return [(name, getattr(settings, name)) for name in settings.__dataclass_fields__]


def _importance_plot(trained: Sequence[Trained], path: Path) -> None:
    figure, axes = _figure(len(trained), height=3.2)
    for axis, one in zip(axes, trained, strict=True):
        shares = sorted(importance(one.learned.models).items(), key=lambda item: item[1])[-SHOWN_FEATURES:]
        axis.barh([name for name, _ in shares], [share for _, share in shares], color="#4477aa")
        axis.set_title(one.data.target.name, fontsize=9)
        axis.tick_params(labelsize=7)
    _save(figure, path)


def _calibration_plot(trained: Sequence[Trained], path: Path) -> None:
    shown = [one for one in trained if one.data.target.kind == "quantiles"]
    figure, axes = _figure(len(shown), height=2.8)
    for axis, one in zip(axes, shown, strict=True):
        axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        for source in one.sources:
            _, predicted, actual = known_rows(one, source)
            if actual is not None:
                axis.plot(
                    QUANTILES, list(calibration_curve(predicted, actual).values()), "o-", markersize=3, label=source
                )
        axis.set_title(one.data.target.name, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6, frameon=False)
    _save(figure, path)


def _figure(count: int, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * count, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _save(figure: Any, path: Path) -> None:
    """As SVG, the same bytes for the same figures."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "augserve", "svg.fonttype": "none"}), atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
