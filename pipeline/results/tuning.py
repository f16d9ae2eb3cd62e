"""The choice of `tune`, and its scores on the sessions of the search, of the selection and of the report."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from .columns import GOODPUT, NONE
from .metrics_file import OURS, UNTUNED, EvaluationResults, ResultsError, is_rival

DEFAULTS = "defaults"
"""The candidate with the hand-set settings."""
CHAMPION = "champion"
"""The candidate that an earlier search found, models/champion.json."""
LEAST_RATIO = 0.01
"""A smaller ratio counts as this one, so that a scenario without goodput does not decide everything."""


@dataclass(frozen=True, slots=True)
class Selection:
    """models/tuned/selection.json. A score is the goodput as a ratio to that of the best rival, the geometric mean over
    the scenarios."""

    chosen: str
    scenarios: tuple[tuple[str, str, str], ...]  # workload, profile and load, as in the results of an evaluation
    scores: Mapping[str, Mapping[str, float]]  # candidate → `tune` and `select` → score

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ResultsError for a file that is missing or of another form."""
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            scenarios = tuple((workload, profile, load) for workload, profile, load in value["scenarios"])
            return cls(**{**value, "scenarios": scenarios})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"{path}: not a selection of `tune` ({error}); run `dvc repro tune`") from error


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(math.log(max(ratio, LEAST_RATIO)) for ratio in ratios) / len(ratios))


def origin_of(candidate: str) -> str:
    """Where the settings of a candidate come from."""
    return {DEFAULTS: "hand-set defaults", CHAMPION: "an earlier search"}.get(candidate, "this search")


def tuning_table(results: EvaluationResults, selection: Selection) -> pd.DataFrame:
    """One row a candidate, the chosen one first. The report has scores of the chosen one and of the defaults only, over
    the scenarios that were evaluated with both."""
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
    """The score of a policy on the sessions of the report; None where no scenario has AugServe with both settings."""
    ratios = []
    for workload, profile, load in selection.scenarios:
        cells = results.cells.get(workload, {}).get(profile, {}).get(load, {})
        rivals = [cell[GOODPUT] for name, cell in cells.items() if is_rival(name)]
        if {OURS, UNTUNED, policy} <= set(cells) and max(rivals, default=0.0) > 0:
            ratios.append(cells[policy][GOODPUT] / max(rivals))
    return geometric_mean(ratios) if ratios else None
