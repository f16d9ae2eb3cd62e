"""`scheduler.json`: the settings that tuning chooses and the runtime applies, each validated once."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar, dataclass_transform

import pydantic.dataclasses
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Weight = Annotated[Number, Field(ge=0, le=1e6)]
StepSeconds = Annotated[Number, Field(ge=0, le=60)]
TtftSeconds = Annotated[Number, Field(ge=1e-3, le=3600)]
TpotSeconds = Annotated[Number, Field(ge=1e-4, le=60)]
Part = TypeVar("Part")


class SettingsError(ValueError):
    """A setting is missing, unknown or out of range; the message names the key, the cause and the remedy."""


@dataclass_transform(frozen_default=True)
def settings_part(cls: type[Part]) -> type[Part]:
    """Make `cls` a frozen dataclass that raises SettingsError for a field of another type or out of range."""
    made: Any = pydantic.dataclasses.dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))(cls)
    validate = made.__init__

    def init(self: object, *args: object, **kwargs: object) -> None:
        try:
            validate(self, *args, **kwargs)
        except ValidationError as error:
            raise SettingsError(f"{cls.__name__}: {_cause(error)}; correct it") from error

    made.__init__ = init
    return made  # type: ignore[no-any-return]


@settings_part
class Slo:
    ttft_s: TtftSeconds = 1.0  # limit on the time to first token
    tpot_s: TpotSeconds = 0.1  # limit on the mean time per further output token


@settings_part
class StepTime:
    """Linear model of a step's time on the target engine: the part of its profile that the scheduler needs."""

    base_s: StepSeconds = 0.006  # of every step
    per_prefill_token_s: StepSeconds = 2.0e-5  # per computed prompt token
    per_decode_s: StepSeconds = 2.0e-5  # per decoding request
    per_context_token_s: StepSeconds = 1.0e-8  # per context token of the decoding requests
    per_pair_s: StepSeconds = 0.0  # per query-key pair of prompts: attention, which long contexts make dear
    per_loaded_token_s: StepSeconds = 0.0  # per context token that is loaded from host memory; 0: unknown


@settings_part
class ValueWeights:
    """Weights of the value's terms, each term in seconds (see runtime/queueing/value.py); the lowest value goes first.

    `soon_s` is no weight but the time constant of `future`: a turn that follows after a pause of `soon_s` counts 1/e.
    """

    stage_one: Weight = 0.1  # expected cost of the turn: share of the KV cache x time in it
    uncached: Weight = 1.0  # time to compute the uncached prompt tokens
    output: Weight = 1.0  # engine time to decode the remaining output
    future: Weight = 1.0  # turns that soon follow share the cost of the prompt: stage_one and uncached
    soon_s: Annotated[Number, Field(ge=1e-3, le=1e6)] = 5.0  # a turn after a pause of soon_s counts 1/e in `future`
    remaining: Weight = 0.0  # engine time of the session's later turns
    waiting: Weight = 0.0  # time waited, subtracted
    slack: Weight = 0.0  # time left to the TTFT deadline
    attained: Weight = 0.0  # engine time that the session has used: fairness between sessions
    tenant: Weight = 1.0  # recent engine time of the tenant, where tenants are known: fairness between tenants


@settings_part
class BudgetGains:
    """Token-budget controller (runtime/steering/token_budget.py)."""

    prefill_share: Annotated[Number, Field(ge=0, le=0.95)] = 0.5  # of a step's time, for prompts beside decodes
    slack_share: Annotated[Number, Field(ge=0.01, le=1)] = 0.2  # of the tightest TPOT slack, for the next step
    drain_share: Annotated[Number, Field(ge=0, le=1)] = 0.7  # the same while a few late turns wait
    correction: Annotated[Number, Field(ge=0, le=1)] = 0.05  # of a step's error, by which its estimate learns
    running_share: Annotated[Number, Field(ge=0.05, le=1)] = 0.25  # of a step's prompt tokens, for prompts that run


@settings_part
class Residency:
    """Which sessions may hold KV memory; see runtime/residency."""

    share: Annotated[Number, Field(ge=0, le=1)] = 0.8  # of the KV cache, to which contexts are admitted; 0: off
    heavy_s: Annotated[Number, Field(ge=0, le=3600)] = 0.25  # prefill time from which a cold turn needs admission
    keep: Weight = 1.0  # a paused context stays while memory x time is below this multiple of its prefill time
    longest_share: Annotated[Number, Field(ge=0, le=1)] = 0.1  # of the admissions, for the longest wait
    longest_wait_s: Annotated[Number, Field(ge=1e-3, le=86400)] = 600.0  # turns held beyond it go in without room


@settings_part
class Admission:
    """Limits of the order by value in favour of turns that it would delay."""

    pass_over_s: Annotated[Number, Field(ge=0, le=3600)] = 2.0  # smaller turns may pass one that does not fit; 0: never
    overdue_share: Annotated[Number, Field(ge=0.001, le=1)] = 0.1  # of the engine, for turns that wait too long


@settings_part
class SchedulerSettings:
    slo: Slo = Slo()
    weights: ValueWeights = ValueWeights()
    budget: BudgetGains = BudgetGains()
    step_time: StepTime = StepTime()
    residency: Residency = Residency()
    admission: Admission = Admission()
    max_wait_s: Annotated[Number, Field(ge=1e-3, le=86400)] = 60.0  # turns beyond it go first, up to overdue_share
    profile: str = "llama-3.1-8b-h100"  # the profile that the settings were tuned on

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def overridden(self, values: Mapping[str, Any]) -> Self:
        """These settings with other values, by dotted names. Raises SettingsError for an unknown name or a value of
        another type or out of range."""
        nested = self.to_json()
        known = flat(nested)
        for name, value in values.items():
            if name not in known:
                raise SettingsError(f"{name} is no setting; choose one of {', '.join(sorted(known))}")
            part, *rest = name.split(".")
            if rest:
                nested[part][rest[0]] = value
            else:
                nested[part] = value
        try:
            return TypeAdapter(type(self)).validate_python(nested)
        except ValidationError as error:
            raise SettingsError(_cause(error)) from error

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Raises SettingsError for an unknown or missing key and for a value of another type or out of range."""
        remedy = "retrain with this release or correct it"
        try:
            settings = TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            raise SettingsError(f"scheduler.json: {_cause(error)}; {remedy}") from error
        if missing := sorted(set(flat(settings.to_json())) - set(flat(value))):
            raise SettingsError(f"scheduler.json: {missing[0]} is missing; {remedy}")
        return settings


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested settings, by dotted names."""
    values: dict[str, Any] = {}
    for key, value in settings.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def _cause(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = " ".join(".".join(map(str, first["loc"])).split())  # on one line, whatever the file calls it
    message = first["msg"]
    return f"{key} is {first['input']!r}: {message[0].lower()}{message[1:]}"
