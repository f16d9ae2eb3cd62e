"""What tuning searches, as `tune.space` in params.yaml declares it: settings by dotted names, and their ranges."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import optuna

from ...models.serving.settings import SchedulerSettings, SettingsError
from ..project.params import PARAMS_FILE, ParamsError, require

Value = float | str | bool
GIVEN = ("slo", "step_time", "profile")
"""Facts and promises that the settings carry beside what may be chosen."""
KEYS = frozenset({"low", "high", "log", "choices", "zero", "when"})


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()  # instead of a range
    zero: bool = False  # whether it may be 0 too, by a switch of its own
    when: str | None = None  # searched only where this parameter is not off
    whole: bool = False

    def suggest(self, trial: optuna.Trial) -> Value:
        if self.zero and not trial.suggest_categorical(f"use.{self.name}", [True, False]):
            return 0 if self.whole else 0.0
        if self.choices:
            return cast(Value, trial.suggest_categorical(self.name, self.choices))
        if self.whole:
            return int(trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def nearest(self, value: Value) -> Value:
        """The value that a trial may take next to one set by hand."""
        if self.choices:
            numbers = isinstance(value, int | float) and all(isinstance(choice, int | float) for choice in self.choices)
            return min(self.choices, key=lambda choice: abs(choice - value) if numbers else choice != value)  # type: ignore[operator]
        clipped = min(max(float(value), self.low), self.high)
        return round(clipped) if self.whole else clipped


@dataclass(frozen=True, slots=True)
class Space:
    """The parameters in the order in which they are asked for, and what all others keep."""

    parameters: tuple[Parameter, ...]
    defaults: SchedulerSettings

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.when is None or values.get(parameter.when):
                values[parameter.name] = parameter.suggest(trial)
        return values

    def settings(self, values: Mapping[str, Value]) -> SchedulerSettings:
        """Settings of such values; what is not among them is the default's. Raises SettingsError."""
        return with_values(self.defaults, values)

    def point(self, settings: SchedulerSettings) -> dict[str, Value]:
        """The trial that comes nearest to `settings`, as Optuna's own parameters."""
        document = settings.to_json()
        point: dict[str, Value] = {}
        searched: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.when is not None and not searched.get(parameter.when):
                continue
            value = searched[parameter.name] = _get(document, parameter.name)
            if parameter.zero:
                point[f"use.{parameter.name}"] = bool(value)
            if value or not parameter.zero:
                point[parameter.name] = parameter.nearest(value)
        return point


def with_values(settings: SchedulerSettings, values: Mapping[str, Value]) -> SchedulerSettings:
    """`settings` with some values changed, by dotted names. Raises SettingsError for an unknown or unfit one."""
    document = settings.to_json()
    for name, value in values.items():
        if name.split(".")[0] in GIVEN or isinstance(_get(document, name), dict):
            raise SettingsError(f"scheduler.json: {name} is not for tuning to choose; leave it out")
        *groups, last = name.split(".")
        part = document
        for group in groups:
            part = part[group]
        part[last] = value
    return SchedulerSettings.from_json(document)


def read_space(declared: Mapping[str, Any], defaults: SchedulerSettings) -> Space:
    """Raises ParamsError for an unknown parameter or key, an empty or unfit range, and a `when` without a switch."""
    parameters: dict[str, Parameter] = {}
    for name, spec in declared.items():
        parameters[name] = _parameter(name, spec, parameters.values(), defaults)
    if not parameters:
        raise ParamsError(f"{PARAMS_FILE}: tune.space is empty: nothing is searched; restore it from git")
    return Space(tuple(parameters.values()), defaults)


def _parameter(name: str, spec: Any, above: Iterable[Parameter], defaults: SchedulerSettings) -> Parameter:
    key = f"tune.space.{name}"
    default = _default(name, defaults)
    if not isinstance(spec, dict) or (unknown := sorted(set(map(str, spec)) - KEYS)):
        said = repr(spec) if not isinstance(spec, dict) else f"unknown key {unknown[0]!r}"
        raise ParamsError(f"{PARAMS_FILE}: {key}: {said}: known are {', '.join(sorted(KEYS))}; correct it there")
    for flag in ("log", "zero"):
        require(isinstance(spec.get(flag, False), bool), f"{key}.{flag}", spec.get(flag), "true or false")
    switches = [parameter.name for parameter in above if parameter.zero]
    when = spec.get("when")
    require(when is None or when in switches, f"{key}.when", when, "a parameter above it that has `zero: true`")
    whole = isinstance(default, int) and not isinstance(default, bool)
    if "choices" in spec:
        choices = spec["choices"]
        require(isinstance(choices, list) and bool(choices), f"{key}.choices", choices, "a list of values")
        parameter = Parameter(name, choices=tuple(choices), zero=spec.get("zero", False), when=when, whole=whole)
        tried: list[tuple[str, Value]] = [("choices", choice) for choice in choices]
    else:
        low, high = (_number(spec, bound, key, whole) for bound in ("low", "high"))
        require(low <= high, f"{key}.low", low, f"at most {key}.high, {high}")
        require(not spec.get("log") or low > 0, f"{key}.low", low, "positive on a log scale")
        require(not isinstance(default, bool | str), key, spec, "a list of `choices`: it is no number")
        parameter = Parameter(name, low, high, spec.get("log", False), (), spec.get("zero", False), when, whole)
        tried = [("low", low), ("high", high)]
    for bound, value in tried + ([("zero", 0)] if parameter.zero else []):
        try:
            with_values(defaults, {name: value})
        except SettingsError as error:
            raise ParamsError(f"{PARAMS_FILE}: {key}.{bound}: {error}") from error
    return parameter


def _default(name: str, defaults: SchedulerSettings) -> Value:
    document = defaults.to_json()
    known = sorted(leaf for leaf in _leaves(document) if leaf.split(".")[0] not in GIVEN)
    if name not in known:
        raise ParamsError(f"{PARAMS_FILE}: tune.space: unknown parameter {name!r}; known are {', '.join(known)}")
    return cast(Value, _get(document, name))


def _number(spec: Mapping[str, Any], bound: str, key: str, whole: bool) -> float:
    value = spec.get(bound)
    require(isinstance(value, int | float) and not isinstance(value, bool), f"{key}.{bound}", value, "a number")
    require(not whole or value == int(value), f"{key}.{bound}", value, "a whole number")  # type: ignore[arg-type]
    return int(value) if whole else float(value)  # type: ignore[arg-type]


def _leaves(document: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in document.items():
        names += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names


def _get(document: Mapping[str, Any], name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise SettingsError(f"scheduler.json: {name} is unknown; correct its name")
        value = value[part]
    return value
