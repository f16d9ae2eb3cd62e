"""The choice of `tune`, and its scores on the sessions of the search, of the selection and of the report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ..simulator import catalogue
from .columns import GOODPUT, NONE
from .metrics_file import OURS, UNTUNED, EvaluationResults, ResultsError

DEFAULTS = "defaults"
"""The candidate with the hand-set settings."""
START = "start"
"""`start 2` is the second entry of `tune.starts` in params.yaml; every other candidate was searched."""


@dataclass(frozen=True, slots=True)
class Selection:
    """models/tuned/selection.json. A score is the goodput as a ratio to that of stock vLLM, the mean over loads."""

    chosen: str
    profile: str
    workload: str
    loads: tuple[float, ...]
    longest_wait_s: float  # the limit at loads where stock vLLM keeps it
    scores: Mapping[str, Mapping[str, float]]  # candidate → `tune` and `select` → score

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ResultsError for a file that is missing or of another form."""
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**value, "loads": tuple(value["loads"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"{path}: not a selection of `tune` ({error}); run `dvc repro tune`") from error


def origin_of(candidate: str) -> str:
    """Where the settings of a candidate come from."""
    if candidate == DEFAULTS:
        return "hand-set defaults"
    return "given in params.yaml" if candidate.startswith(f"{START} ") else "searched"


def tuning_table(results: EvaluationResults, selection: Selection) -> pd.DataFrame:
    """One row a candidate, the chosen one first. The report has scores of the chosen one and of the defaults only."""
    reported = {DEFAULTS: UNTUNED, selection.chosen: OURS}
    rows = []
    for candidate, scores in sorted(selection.scores.items(), key=lambda item: item[0] != selection.chosen):
        report = report_score(results, selection, reported[candidate]) if candidate in reported else None
        row = {"settings": candidate, "origin": origin_of(candidate)}
        row["chosen"] = "yes" if candidate == selection.chosen else ""
        row |= {"search sessions": f"{scores['tune']:.3f}", "selection sessions": f"{scores['select']:.3f}"}
        rows.append(row | {"report sessions": NONE if report is None else f"{report:.3f}"})
    return pd.DataFrame(rows)


def report_score(results: EvaluationResults, selection: Selection, policy: str) -> float | None:
    """The score of a policy on the sessions of the report; None where a load of the selection was not evaluated."""
    job = (selection.workload, selection.profile)
    cells = results.by_load(job) if job in results.jobs else {}
    stock = catalogue.VLLM.name
    if not all({policy, stock} <= set(cells.get(load, {})) for load in selection.loads):
        return None
    ratios = []
    for load in selection.loads:
        best = max(of[stock][GOODPUT] for at, of in cells.items() if at <= load and stock in of)
        if best <= 0:
            return None
        ratios.append(cells[load][policy][GOODPUT] / best)
    return sum(ratios) / len(ratios)
