"""Figures of a study: the importance of each parameter, and goodput against the longest wait."""

from pathlib import Path

import pandas as pd

from ..results.figures import svg_figure

BLUE, RED = "#4c78a8", "#e45756"


def importance_figure(importances: pd.DataFrame, path: Path) -> None:
    """`importances` has the columns `parameter` and `importance`, the largest first."""
    with svg_figure(path, 5.2, 0.7 + 0.22 * len(importances)) as (_, axes):
        axis, rows = axes[0, 0], importances.iloc[::-1]
        axis.barh(rows["parameter"], rows["importance"], color=BLUE)
        axis.set_xlabel("share of the variance explained")


def pareto_figure(trials: pd.DataFrame, front: pd.DataFrame, path: Path) -> None:
    complete = trials[trials["state"] == "complete"]
    with svg_figure(path, 5.2, 3.2) as (_, axes):
        axis = axes[0, 0]
        axis.scatter(complete["longest_wait_s"], complete["score"], color=BLUE, s=18, label="trial")
        axis.plot(front["longest_wait_s"], front["score"], color=RED, linewidth=1, label="Pareto front")
        axis.set(xlabel="longest wait, s", ylabel="goodput, ratio to the best rival")
        axis.legend()
