"""Reports of a study in reports/tune: trials, importance of parameters, goodput against waiting, and the selection."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution

from ...data.atomic import write_json, write_text
from ..results.tables import markdown, write_csv
from ..results.tuning import origin_of
from .figures import importance_figure, pareto_figure
from .select import Selected, default_of, gains
from .space import Parameter, Space, Value

MIN_IMPORTANCE_TRIALS = 8
CAPTION = """Goodput as a ratio to that of the best rival at the same load; means are geometric.
The search saw one set of sessions, the selection another one: the columns of single loads are of the selection.
"""
State = optuna.trial.TrialState


def write_reports(
    folder: Path,
    study: optuna.Study,
    space: Space,
    selected: Sequence[Selected],
    winner: Selected,
    notes: Sequence[str] = (),
) -> None:
    """`notes`: lines to show above the table of the candidates."""
    trials = trial_rows(study, space)
    importance = importances(study, space)
    front = pareto_front(trials)
    for name, table in (("trials", trials), ("importance", importance), ("pareto", front)):
        write_csv(folder / f"{name}.csv", table)
    importance_figure(importance, folder / "importance.svg")
    pareto_figure(trials, front, folder / "pareto.svg")
    lines = [f"{note}.\n" for note in notes]
    parts = (CAPTION, finished_text(study), *lines, markdown(selection_table(selected, winner)))
    write_text(folder / "table.md", "\n".join(parts))
    write_json(folder / "metrics.json", metrics(study, selected, winner))


def finished(study: optuna.Study) -> dict[str, int]:
    """How many trials the search finished, and how many of them were given."""
    trials = study.get_trials(deepcopy=False, states=(State.COMPLETE,))
    return {"finished": len(trials), "given": sum("start" in trial.user_attrs for trial in trials)}


def finished_text(study: optuna.Study) -> str:
    counts = finished(study)
    return f"{counts['finished']} trials finished in short simulations, {counts['given']} of them given.\n"


def selection_table(selected: Sequence[Selected], winner: Selected) -> pd.DataFrame:
    """One row a candidate, best score first: origin of the settings, scores, violated constraints."""
    return pd.DataFrame(
        {
            "settings": one.candidate.name,
            "origin": origin_of(one.candidate.name),
            "chosen": "yes" if one is winner else "",
            "screened": f"{one.candidate.screened:.3f}",
            "search: mean": f"{one.tune.mean:.3f}",
            "selection: mean": f"{one.score.mean:.3f}",
            **{load: f"{ratio:.3f}" for load, ratio in one.score.by_load.items()},
            "violated": ", ".join(name for name, value in one.score.violations.items() if value > 0),
        }
        for one in sorted(selected, key=lambda one: -one.score.mean)
    )


def metrics(study: optuna.Study, selected: Sequence[Selected], winner: Selected) -> dict[str, Any]:
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    default = default_of(selected)
    return {
        "best_trial": winner.candidate.trial,
        "best_score": winner.tune.mean,
        "default_score": default.tune.mean if default else None,
        "select_score": winner.score.mean,
        "select_default_score": default.score.mean if default else None,
        "feasible": winner.tune.feasible and winner.score.feasible,
        "capacity90_vllm_sessions_per_s": {
            f"{workload} on {profile}": rate for workload, profile, rate in study.user_attrs.get("capacities", ())
        },
        "trials": states.count(State.COMPLETE),
        "failed": states.count(State.FAIL),
        **(gains(winner, default) if default else {}),
    }


def trial_rows(study: optuna.Study, space: Space) -> pd.DataFrame:
    """One row a finished trial. A failed one has no score, an inactive parameter no value."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=(State.COMPLETE, State.FAIL)):
        row: dict[str, Any] = {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "start": trial.user_attrs.get("start", ""),
            "score": trial.values[0] if trial.state == State.COMPLETE else math.nan,
            "longest_wait_s": trial.user_attrs.get("longest_wait_s", math.nan),
        }
        rows.append(row | {parameter.name: _effective(parameter, trial.params) for parameter in space.parameters})
    return pd.DataFrame(rows)


def _effective(parameter: Parameter, params: dict[str, Any]) -> Value | None:
    if params.get(f"use.{parameter.name}") is False:
        return 0.0
    value: Value | None = params.get(parameter.name)
    return value


def importances(study: optuna.Study, space: Space) -> pd.DataFrame:
    """Share of the variance of the score that each parameter explains, by functional ANOVA over forests.

    An inactive parameter counts as a value below its range.
    """
    plain = optuna.create_study(direction="maximize")
    for trial in study.get_trials(deepcopy=False, states=(State.COMPLETE,)):
        params = {p.name: _position(p, _effective(p, trial.params)) for p in space.parameters}
        ranges: dict[str, BaseDistribution] = {name: FloatDistribution(-0.5, 1.0) for name in params}
        plain.add_trial(optuna.create_trial(value=trial.values[0], params=params, distributions=ranges))
    values = [trial.values[0] for trial in plain.get_trials(deepcopy=False)]
    shares: dict[str, float] = {}
    if len(values) >= MIN_IMPORTANCE_TRIALS and np.ptp(values) > 0:
        shares = optuna.importance.get_param_importances(
            plain, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    rows = [(parameter.name, shares.get(parameter.name, 0.0)) for parameter in space.parameters]
    table = pd.DataFrame(rows, columns=["parameter", "importance"])
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def _position(parameter: Parameter, value: Value | None) -> float:
    """The position of a value in its range, from 0 to 1; -0.5 for an inactive parameter."""
    if value is None or (parameter.zero and not value):
        return -0.5
    if parameter.choices:
        return parameter.choices.index(value) / max(1, len(parameter.choices) - 1)
    low, high, position = parameter.low, parameter.high, float(value)
    if parameter.log:
        low, high, position = math.log(low), math.log(high), math.log(position)
    return min(max((position - low) / (high - low), 0.0), 1.0) if high > low else 0.0


def pareto_front(trials: pd.DataFrame) -> pd.DataFrame:
    """The completed trials that no other beats in both score and longest wait, best score first."""
    complete = trials[trials["state"] == "complete"].sort_values(["score", "longest_wait_s"], ascending=[False, True])
    waits = complete["longest_wait_s"].to_numpy()
    shortest = np.minimum.accumulate(np.concatenate(([np.inf], waits)))[:-1]  # among higher scores
    return complete.loc[waits < shortest, ["trial", "score", "longest_wait_s"]]
