"""Reports of profiles: measured against fitted steps, and step time by context length."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.atomic import write_text
from ..results.figures import svg_figure
from ..step_times.least_squares import Array
from .fit import Work

REPORTS = Path("reports/profile")
POINTS = 500
CURVES = ("decode", "prefill")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table with six significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def write_pairs(name: str, measured: Array, fitted: Array) -> None:
    """Write the measured and the fitted seconds of about POINTS steps."""
    step = max(1, len(measured) // POINTS)
    write_csv(REPORTS / f"{name}.csv", pd.DataFrame({"measured_s": measured[::step], "fitted_s": fitted[::step]}))


def context_table(name: str, works: Sequence[Work], measured: Array, fitted: Array) -> pd.DataFrame:
    """Steps of decodes only or of one prefill chunk only, by context."""
    rows = [
        (name, work.region, work.tokens + work.decodes, work.context, measured_s, fitted_s)
        for work, measured_s, fitted_s in zip(works, measured, fitted, strict=True)
        if work.region in CURVES and work.chunks <= 1
    ]
    columns = ["profile", "region", "tokens", "context_tokens", "measured_s", "fitted_s"]
    return pd.DataFrame(rows, columns=columns).sort_values(["region", "tokens", "context_tokens"], kind="stable")


def write_context(table: pd.DataFrame) -> None:
    """Write step time by context length as `context.csv` and `context.svg`."""
    write_csv(REPORTS / "context.csv", table)
    _draw(table, REPORTS / "context.svg")


def _draw(table: pd.DataFrame, path: Path) -> None:
    """A panel per region (row) and profile (column): measured dots, fitted lines, a colour per number of tokens."""
    names = list(table["profile"].unique())
    with svg_figure(path, 3.4 * len(names), 5.6, len(CURVES), len(names)) as (_, axes):
        for (row, column), axis in np.ndenumerate(axes):
            panel = table[(table["profile"] == names[column]) & (table["region"] == CURVES[row])]
            for colour, (tokens, curve) in enumerate(panel.groupby("tokens")):
                contexts = curve["context_tokens"]
                axis.plot(contexts, curve["fitted_s"], color=f"C{colour}", linewidth=1, label=str(tokens))
                axis.plot(contexts, curve["measured_s"], "o", color=f"C{colour}", markersize=3)
            axis.set(xscale="log", yscale="log", xlabel="context, tokens", ylabel="step, s")
            axis.set_title(f"{names[column]}: {CURVES[row]}")
            axis.tick_params(labelsize=7)
            axis.legend(title="tokens per step", title_fontsize=6)
