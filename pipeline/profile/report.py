"""What a profile looks like: measured against fitted steps, and step time by context length, as CSV and as one SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.atomic import atomic_file, write_text
from .fit import Array, Work

REPORTS = Path("reports/profile")
POINTS = 500
CURVES = ("decode", "prefill")


def write_pairs(name: str, measured: Array, fitted: Array) -> None:
    """Measured and fitted seconds of some steps."""
    step = max(1, len(measured) // POINTS)
    pairs = zip(measured[::step], fitted[::step], strict=True)
    rows = "".join(f"{measured_s:.6g},{fitted_s:.6g}\n" for measured_s, fitted_s in pairs)
    write_text(REPORTS / f"{name}.csv", "measured_s,fitted_s\n" + rows)


def context_rows(name: str, works: Sequence[Work], measured: Array, fitted: Array) -> list[dict[str, Any]]:
    """Steps that only decode or only prefill one chunk, by context."""
    rows = [
        {
            "profile": name,
            "region": work.region,
            "tokens": work.tokens + work.decodes,
            "context_tokens": work.context,
            "measured_s": measured_s,
            "fitted_s": fitted_s,
        }
        for work, measured_s, fitted_s in zip(works, measured, fitted, strict=True)
        if work.region in CURVES and work.chunks <= 1
    ]
    return sorted(rows, key=lambda row: (row["region"], row["tokens"], row["context_tokens"]))


def write_context(rows: Sequence[Mapping[str, Any]]) -> None:
    """Step time by context length, `context.csv` and `context.svg`."""
    columns = list(rows[0])
    lines = (",".join(f"{row[key]:.6g}" if key.endswith("_s") else str(row[key]) for key in columns) for row in rows)
    write_text(REPORTS / "context.csv", "\n".join((",".join(columns), *lines)) + "\n")
    _draw(rows, REPORTS / "context.svg")


def _draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A row of axes a region, a column a profile: dots are measured, lines fitted, a colour a number of tokens."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["profile"] for row in rows))
    figure = Figure(figsize=(3.4 * len(names), 5.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(len(CURVES), len(names), squeeze=False)
    for (line, column), axis in np.ndenumerate(axes):
        shown = [row for row in rows if row["profile"] == names[column] and row["region"] == CURVES[line]]
        for colour, tokens in enumerate(sorted({row["tokens"] for row in shown})):
            curve = [row for row in shown if row["tokens"] == tokens]
            contexts = [row["context_tokens"] for row in curve]
            axis.plot(contexts, [row["fitted_s"] for row in curve], color=f"C{colour}", linewidth=1, label=str(tokens))
            axis.plot(contexts, [row["measured_s"] for row in curve], "o", color=f"C{colour}", markersize=3)
        axis.set(xscale="log", yscale="log", xlabel="context, tokens", ylabel="step, s")
        axis.set_title(f"{names[column]}: {CURVES[line]}", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6, frameon=False, title="tokens a step", title_fontsize=6)
    with mpl.rc_context({"svg.hashsalt": "augserve", "svg.fonttype": "none"}), atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
