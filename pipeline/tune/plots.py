"""A study in two figures: which parameters mattered, and what goodput costs in waiting."""

from pathlib import Path
from typing import Any

import pandas as pd

from ...data.atomic import atomic_file


def importance_plot(rows: pd.DataFrame, path: Path) -> None:
    figure, axis = _figure(height=0.7 + 0.22 * len(rows))
    shown = rows.iloc[::-1]
    axis.barh(shown["parameter"], shown["importance"], color="#4c78a8")
    axis.set_xlabel("share of the variance explained")
    _save(figure, path)


def pareto_plot(trials: pd.DataFrame, front: pd.DataFrame, path: Path) -> None:
    whole = trials[trials["state"] == "complete"]
    figure, axis = _figure(height=3.2)
    for feasible, colour, label in ((True, "#4c78a8", "constraints kept"), (False, "#bbbbbb", "a constraint broken")):
        some = whole[whole["feasible"] == feasible]
        axis.scatter(some["longest_wait_s"], some["score"], color=colour, s=18, label=label)
    axis.plot(front["longest_wait_s"], front["score"], color="#e45756", linewidth=1, label="Pareto front")
    axis.set_xlabel("longest wait, s")
    axis.set_ylabel("turns in time, ratio to stock vLLM")
    axis.legend(fontsize=7)
    _save(figure, path)


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _save(figure: Any, path: Path) -> None:
    """The same figure gives the same bytes."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "augserve", "svg.fonttype": "none"}), atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
