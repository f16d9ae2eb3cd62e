"""What a study found, in reports/tune: the trials, which parameters mattered, and what goodput costs in waiting."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution

from ...data.atomic import write_json, write_text
from .figures import importance_figure, pareto_figure
from .params import TuneParams
from .score import jobs_of
from .select import Judged, default_of, over_tuning
from .space import Parameter, Space, Value

MIN_IMPORTANCE_TRIALS = 8
State = optuna.trial.TrialState
_TABLE_HEAD = """Turns in time, as a ratio to stock vLLM's at this load or, where that has collapsed, at its best load
below. Candidates were tuned on one set of sessions and are judged here on another."""
_TABLE_END = """
The chosen one gains {gain_tune:+.1%} over the hand-set defaults on the sessions tuned on and {gain_select:+.1%} on
those judged on, at the loads tuned on: {over_tuning_gap:+.1%} of over-tuning."""


def write_reports(
    folder: Path, study: optuna.Study, space: Space, params: TuneParams, judged: Sequence[Judged], winner: Judged
) -> None:
    trials = trial_rows(study, space)
    write_csv(folder / "trials.csv", trials)
    importance = importances(study, space)
    write_csv(folder / "importance.csv", importance)
    importance_figure(importance, folder / "importance.svg")
    front = pareto_front(trials)
    write_csv(folder / "pareto.csv", front)
    pareto_figure(trials, front, folder / "pareto.svg")
    write_text(folder / "table.md", table(judged, winner, params))
    write_json(folder / "metrics.json", metrics(study, judged, winner, params))


def metrics(study: optuna.Study, judged: Sequence[Judged], winner: Judged, params: TuneParams) -> dict[str, Any]:
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    default = default_of(judged)
    return {
        "best_trial": winner.candidate.trial,
        "best_score": winner.candidate.tuned,
        "default_score": default.candidate.tuned if default else None,
        "select_score": winner.tally.score,
        "select_default_score": default.tally.score if default else None,
        "feasible": winner.candidate.feasible and winner.tally.feasible,
        "capacity90_vllm_sessions_per_s": study.user_attrs.get("capacities"),
        "trials": states.count(State.COMPLETE),
        "pruned": states.count(State.PRUNED),
        "failed": states.count(State.FAIL),
        **(over_tuning(winner, default, jobs_of(params)) if default else {}),
    }


def trial_rows(study: optuna.Study, space: Space) -> pd.DataFrame:
    """One row a trial that ended; a pruned one has no score, and a parameter that is not in force no value."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=(State.COMPLETE, State.PRUNED, State.FAIL)):
        whole = trial.state == State.COMPLETE
        row: dict[str, Any] = {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "start": trial.user_attrs.get("start", ""),
            "score": trial.values[0] if whole else math.nan,
            "first_simulation": trial.intermediate_values.get(1, math.nan),
            "simulations": len(trial.intermediate_values),
            "feasible": whole and all(value <= 0 for value in trial.constraints.values()),
            "longest_wait_s": trial.user_attrs.get("longest_wait_s", math.nan),
        }
        row |= {f"violation.{name}": value for name, value in sorted(trial.constraints.items())}
        row |= {parameter.name: _effective(parameter, trial.params) for parameter in space.parameters}
        rows.append(row)
    return pd.DataFrame(rows)


def _effective(parameter: Parameter, params: dict[str, Any]) -> Value | None:
    if params.get(f"use.{parameter.name}") is False:
        return 0.0
    value: Value | None = params.get(parameter.name)
    return value


def importances(study: optuna.Study, space: Space) -> pd.DataFrame:
    """Share of the first simulation's variance that each parameter explains (functional ANOVA over random forests).

    Of the first simulation, since every trial has run it. A parameter that is off, or not in force, counts as one below
    its range: so one that is searched only sometimes has its place too.
    """
    plain = optuna.create_study(direction="maximize")
    for trial in study.get_trials(deepcopy=False, states=(State.COMPLETE, State.PRUNED)):
        value = trial.intermediate_values.get(1)
        if value is not None:
            params = {p.name: _position(p, _effective(p, trial.params)) for p in space.parameters}
            ranges: dict[str, BaseDistribution] = {name: FloatDistribution(-0.5, 1.0) for name in params}
            plain.add_trial(optuna.create_trial(value=value, params=params, distributions=ranges))
    values = [trial.values[0] for trial in plain.get_trials(deepcopy=False)]
    found: dict[str, float] = {}
    if len(values) >= MIN_IMPORTANCE_TRIALS and np.ptp(values) > 0:
        found = optuna.importance.get_param_importances(
            plain, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    rows = sorted(
        ((name, found.get(name, 0.0)) for name in (p.name for p in space.parameters)), key=lambda row: -row[1]
    )
    return pd.DataFrame(rows, columns=["parameter", "importance"])


def _position(parameter: Parameter, value: Value | None) -> float:
    """Where a value lies in its range, from 0 to 1; -0.5 where it is not in force."""
    if value is None or (parameter.zero and not value):
        return -0.5
    if parameter.choices:
        return parameter.choices.index(value) / max(1, len(parameter.choices) - 1)
    low, high, at = parameter.low, parameter.high, float(value)
    if parameter.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.0


def pareto_front(trials: pd.DataFrame) -> pd.DataFrame:
    """The whole trials of which no other has both a higher score and a shorter longest wait, best score first."""
    whole = trials[trials["state"] == "complete"].sort_values(["score", "longest_wait_s"], ascending=[False, True])
    waits = whole["longest_wait_s"].to_numpy()
    shortest = np.minimum.accumulate(np.concatenate(([np.inf], waits)))[:-1]  # of those with a higher score
    return whole.loc[waits < shortest, ["trial", "score", "longest_wait_s", "feasible"]]


def table(judged: Sequence[Judged], winner: Judged, params: TuneParams) -> str:
    jobs = jobs_of(params.selecting())
    lines = [
        _TABLE_HEAD,
        "",
        "| candidate | tuned on: mean | judged on: mean | " + " | ".join(job.name for job in jobs) + " | constraints |",
        "|---|---:|---:|" + "---:|" * len(jobs) + "---|",
    ]
    for one in sorted(judged, key=lambda one: -one.tally.score):
        name = f"**{one.candidate.name}**" if one is winner else one.candidate.name
        broken = [constraint for constraint, value in one.tally.violations.items() if value > 0]
        ratios = " | ".join(f"{one.tally.ratios[job]:.3f}" for job in jobs)
        kept = "broken: " + ", ".join(broken) if broken else "kept"
        lines.append(f"| {name} | {one.candidate.tuned:.3f} | {one.tally.score:.3f} | {ratios} | {kept} |")
    default = default_of(judged)
    if default is not None:
        lines.append(_TABLE_END.format(**over_tuning(winner, default, jobs_of(params))))
    return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: pd.DataFrame) -> None:
    write_text(path, rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
