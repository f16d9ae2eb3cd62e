"""What tuning searches: the settings that a trial may try, and where it starts."""

import dataclasses
from collections.abc import Mapping

import optuna

from ...models.settings import BudgetGains, Retention, SchedulerSettings, ValueWeights

WEIGHT_RANGES = {
    "stage_one": (1e-3, 10.0),
    "uncached": (0.05, 20.0),
    "output": (1e-4, 1.0),
    "remaining": (1e-3, 3.0),
    "waiting": (1e-4, 1.0),
    "slack": (1e-4, 1.0),
}


RETENTION = ("max_share", "ttl_factor", "max_waste")


def suggest(trial: optuna.Trial) -> dict[str, float]:
    """The search space: each term but `uncached` may be off; weights and gains on log scales.

    Not in it: max_wait_s, a promise to callers, which short simulations would only stretch.
    """
    values: dict[str, float] = {}
    for name, (low, high) in WEIGHT_RANGES.items():
        if name == "uncached" or trial.suggest_categorical(f"use.{name}", [True, False]):
            values[f"weights.{name}"] = trial.suggest_float(f"weights.{name}", low, high, log=True)
    values["budget.min_tokens"] = trial.suggest_categorical("budget.min_tokens", [512, 1024, 2048, 4096])
    values["budget.proportional"] = trial.suggest_float("budget.proportional", 0.05, 4.0, log=True)
    values["budget.integral"] = trial.suggest_float("budget.integral", 0.005, 0.5, log=True)
    values["budget.target"] = trial.suggest_float("budget.target", 0.4, 2.5, log=True)
    if trial.suggest_categorical("use.retention", [True, False]):
        values["retention.max_share"] = trial.suggest_float("retention.max_share", 0.1, 0.8)
        values["retention.ttl_factor"] = trial.suggest_float("retention.ttl_factor", 1.0, 16.0, log=True)
        values["retention.max_waste"] = trial.suggest_float("retention.max_waste", 0.3, 300.0, log=True)
    return values


def starting_points(defaults: SchedulerSettings) -> list[dict[str, float | bool]]:
    """Trials that come first: the hand-set defaults, the rule `uncached-first` with the whole budget, and that rule
    with some of the turn's cost, under a budget that keeps steps well below the TPOT target."""
    points = []
    plain = ValueWeights(stage_one=0, uncached=1, output=0, remaining=0, waiting=0, slack=0)
    steered = BudgetGains(min_tokens=512, proportional=0.4, integral=0.15, target=0.6)
    keeping = Retention(max_share=0.6, ttl_factor=8.0, max_waste=100.0)
    for weights, gains, retention in (
        (defaults.weights, defaults.budget, defaults.retention),
        (plain, dataclasses.replace(defaults.budget, target=2.5), Retention()),
        (dataclasses.replace(plain, stage_one=0.01), steered, keeping),
    ):
        point: dict[str, float | bool] = {"use.retention": retention.max_share > 0}
        if retention.max_share > 0:
            point |= {f"retention.{name}": getattr(retention, name) for name in RETENTION}
        for name in WEIGHT_RANGES:
            weight = getattr(weights, name)
            if name != "uncached":
                point[f"use.{name}"] = weight > 0
            if weight > 0:
                point[f"weights.{name}"] = weight
        points.append(point | {f"budget.{key}": value for key, value in dataclasses.asdict(gains).items()})
    return points


def trial_settings(defaults: SchedulerSettings, values: Mapping[str, float]) -> SchedulerSettings:
    """Settings of a trial's values, as `suggest` names them; a term that is off has weight 0."""
    weights = {
        field.name: float(values.get(f"weights.{field.name}", 0.0)) for field in dataclasses.fields(ValueWeights)
    }
    return dataclasses.replace(
        defaults,
        weights=ValueWeights(**weights),
        budget=BudgetGains(
            min_tokens=int(values["budget.min_tokens"]),
            proportional=float(values["budget.proportional"]),
            integral=float(values["budget.integral"]),
            target=float(values["budget.target"]),
        ),
        retention=_retention(values),
    )


def _retention(values: Mapping[str, float]) -> Retention:
    """Off where the trial keeps nothing."""
    if "retention.max_share" not in values:
        return Retention(max_share=0.0)
    return Retention(
        max_share=float(values["retention.max_share"]),
        ttl_factor=float(values["retention.ttl_factor"]),
        max_waste=float(values["retention.max_waste"]),
    )
