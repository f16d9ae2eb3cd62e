"""The search space, as `tune.space` in params.yaml declares it: settings by dotted names, and their ranges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import optuna
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError, model_validator

from ...models.serving.settings import Number, SchedulerSettings, SettingsError, flat
from ..project.params import PARAMS_FILE, ParamsError

Value = int | float | str | bool
FIXED = ("slo", "step_time", "profile")
"""Groups of settings that are facts or promises, which no search may change."""


class SearchRange(BaseModel):
    """An entry of `tune.space`: `choices`, or a range from `low` to `high`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Number = 0.0
    high: Number = 0.0
    log: StrictBool = False
    choices: tuple[Value, ...] = ()
    zero: StrictBool = False  # the value 0 is possible too, by a switch of its own
    when: str | None = None  # searched only where this parameter is not 0

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.choices and not {"low", "high"} <= self.model_fields_set:
            raise ValueError("must have low and high, or choices")
        if self.low > self.high:
            raise ValueError(f"low is {self.low}: must be at most high, {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}: must be positive on a log scale")
        return self


class Parameter(SearchRange):
    name: str

    def suggest(self, trial: optuna.Trial) -> Value:
        if self.zero and not trial.suggest_categorical(f"use.{self.name}", [True, False]):
            return 0.0
        if self.choices:
            return cast(Value, trial.suggest_categorical(self.name, self.choices))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def nearest(self, value: Value) -> Value:
        """The possible value that is nearest to a given one."""
        if self.choices:
            numbers = isinstance(value, int | float) and all(isinstance(choice, int | float) for choice in self.choices)
            return min(self.choices, key=lambda choice: abs(choice - value) if numbers else choice != value)  # type: ignore[operator]
        return min(max(float(value), self.low), self.high)


@dataclass(frozen=True, slots=True)
class Space:
    """The parameters in the order in which a trial asks for them, and the settings that every trial starts from."""

    parameters: tuple[Parameter, ...]
    defaults: SchedulerSettings

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.when is None or values.get(parameter.when):
                values[parameter.name] = parameter.suggest(trial)
        return values

    def settings(self, values: Mapping[str, Value]) -> SchedulerSettings:
        """The defaults with some values changed. Raises SettingsError."""
        return with_values(self.defaults, values)

    def point(self, settings: SchedulerSettings) -> dict[str, Value]:
        """The parameters of the trial that is nearest to `settings`, by the names that Optuna has for them."""
        current = flat(settings.to_json())
        point: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.when is not None and not current[parameter.when]:
                continue
            value = current[parameter.name]
            if parameter.zero:
                point[f"use.{parameter.name}"] = bool(value)
            if value or not parameter.zero:
                point[parameter.name] = parameter.nearest(value)
        return point


def with_values(settings: SchedulerSettings, values: Mapping[str, Value]) -> SchedulerSettings:
    """`settings` with some values changed, by dotted names. Raises SettingsError for an unknown or invalid one."""
    document, known = settings.to_json(), searchable(settings)
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"scheduler.json: {name} is no setting that a search may change; correct its name")
        *groups, last = name.split(".")
        part = document
        for group in groups:
            part = part[group]
        part[last] = value
    return SchedulerSettings.from_json(document)


def searchable(settings: SchedulerSettings) -> dict[str, Value]:
    """The values that a search may change, by dotted names."""
    return {name: value for name, value in flat(settings.to_json()).items() if name.split(".")[0] not in FIXED}


def read_space(declared: Mapping[str, Any], defaults: SchedulerSettings) -> Space:
    """Raises ParamsError for an unknown parameter or key, an invalid range, and a `when` without its parameter."""
    parameters: list[Parameter] = []
    for name, entry in declared.items():
        try:
            parameters.append(_parameter(name, entry, parameters, defaults))
        except (ValueError, SettingsError) as error:
            raise ParamsError(f"{PARAMS_FILE}: tune.space.{name}: {error}; correct it there") from error
    if not parameters:
        raise ParamsError(f"{PARAMS_FILE}: tune.space is empty; restore it from git")
    return Space(tuple(parameters), defaults)


def _parameter(name: str, entry: Any, above: list[Parameter], defaults: SchedulerSettings) -> Parameter:
    known = searchable(defaults)
    if name not in known:
        raise ValueError(f"unknown parameter; known are {', '.join(sorted(known))}")
    try:
        searched = SearchRange.model_validate(entry)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{place}{': ' if place else ''}{problem['msg']}") from error
    if searched.when is not None and searched.when not in [parameter.name for parameter in above if parameter.zero]:
        raise ValueError(f"when is {searched.when!r}: must be a parameter above it that has `zero: true`")
    for value in (*(searched.choices or (searched.low, searched.high)), *((0.0,) if searched.zero else ())):
        with_values(defaults, {name: value})
    return Parameter(**searched.model_dump(), name=name)
