"""`scheduler.json`: what tuning chooses and the runtime obeys. Every number is validated here, once."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


class SettingsError(ValueError):
    """A setting is missing, unknown or out of range; the message names it, the cause and the remedy."""


def _check(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingsError(f"scheduler.json: {name} is {value!r}: it must be a finite number; retrain or correct it")
    if not low <= value <= high:
        raise SettingsError(f"scheduler.json: {name} is {value}: it must lie in [{low}, {high}]; retrain or correct it")


@dataclass(frozen=True, slots=True)
class Slo:
    ttft_s: float = 1.0
    tpot_s: float = 0.1

    def __post_init__(self) -> None:
        _check("slo.ttft_s", self.ttft_s, 1e-3, 3600)
        _check("slo.tpot_s", self.tpot_s, 1e-4, 60)


@dataclass(frozen=True, slots=True)
class StepTime:
    """Engine step time, linear in what a step holds: the target profile as the scheduler needs it."""

    base_s: float = 0.006
    per_prefill_token_s: float = 2.0e-5
    per_decode_s: float = 2.0e-5
    per_context_token_s: float = 1.0e-8

    def __post_init__(self) -> None:
        for name in ("base_s", "per_prefill_token_s", "per_decode_s", "per_context_token_s"):
            _check(f"step_time.{name}", getattr(self, name), 0, 60)


@dataclass(frozen=True, slots=True)
class ValueWeights:
    """Weights of the value's terms, each term in seconds (see value.py); the lowest value goes first."""

    stage_one: float = 0.1  # expected cost of the turn: share of the KV cache x time held
    uncached: float = 1.0  # time to compute the prompt tokens that are not cached
    output: float = 1.0  # engine time to decode what is still to come
    future: float = 1.0  # turns that soon follow this one share the cost of its prompt: stage_one and uncached
    soon_s: float = 5.0  # no weight: after a pause of so long, a turn that follows counts 1/e of one
    remaining: float = 0.0  # decode and prefill time of the session's turns still to come
    waiting: float = 0.0  # time waited, subtracted
    slack: float = 0.0  # time left to the TTFT deadline
    attained: float = 0.0  # engine time that the session has had: fairness between sessions
    tenant: float = 0.0  # engine time that the tenant has had beyond the least of those waiting: between tenants

    def __post_init__(self) -> None:
        for weight in dataclasses.fields(self):
            _check(f"weights.{weight.name}", getattr(self, weight.name), 0, 1e6)
        _check("weights.soon_s", self.soon_s, 1e-3, 1e6)


@dataclass(frozen=True, slots=True)
class BudgetGains:
    """Token-budget controller: proportional-integral on the step time's distance to its target."""

    min_tokens: int = 512
    proportional: float = 0.5  # budget share a relative error of 1
    integral: float = 0.05  # the same, a step
    target: float = 0.8  # share of slo.tpot_s that a step may take
    drain_target: float = 0.8  # the same, if more, while late turns wait that can still be cleared

    def __post_init__(self) -> None:
        _check("budget.drain_target", self.drain_target, 0, 10)
        _check("budget.min_tokens", self.min_tokens, 1, 1 << 20)
        _check("budget.proportional", self.proportional, 0, 100)
        _check("budget.integral", self.integral, 0, 100)
        _check("budget.target", self.target, 0.01, 10)


@dataclass(frozen=True, slots=True)
class Retention:
    """Context policy: which contexts are kept in the KV cache over their tool calls, and how long."""

    max_share: float = 0.0  # of the KV cache that may be kept for paused sessions; 0: off
    ttl_factor: float = 2.0  # a context is kept for so many times the forecast pause
    min_tokens: int = 256  # a shorter context is not kept
    max_waste: float = 1.0  # memory x time of keeping, over that of computing again; 1: least waste, as InferCept

    def __post_init__(self) -> None:
        _check("retention.max_share", self.max_share, 0, 0.9)
        _check("retention.ttl_factor", self.ttl_factor, 0, 100)
        _check("retention.min_tokens", self.min_tokens, 1, 1 << 30)
        _check("retention.max_waste", self.max_waste, 0, 1e6)


@dataclass(frozen=True, slots=True)
class Admission:
    """How far the order of value gives way to those that it would keep waiting."""

    pass_over_s: float = 2.0  # smaller turns may go before one that the free KV cache cannot hold; 0: never
    overdue_share: float = 0.1  # of the tokens computed, for those beyond max_wait_s

    def __post_init__(self) -> None:
        _check("admission.pass_over_s", self.pass_over_s, 0, 3600)
        _check("admission.overdue_share", self.overdue_share, 0.001, 1)  # with none they would wait for ever


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    slo: Slo = field(default_factory=Slo)
    weights: ValueWeights = field(default_factory=ValueWeights)
    budget: BudgetGains = field(default_factory=BudgetGains)
    step_time: StepTime = field(default_factory=StepTime)
    retention: Retention = field(default_factory=Retention)
    admission: Admission = field(default_factory=Admission)
    max_wait_s: float = 60.0  # who waits longer goes first, as far as admission.overdue_share reaches
    profile: str = "llama-3.1-8b-h100"  # the profile that the settings were tuned on

    def __post_init__(self) -> None:
        _check("max_wait_s", self.max_wait_s, 1e-3, 86400)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Raises SettingsError for an unknown or missing key and for any value out of range. Only what is newer than
        the oldest bundles may be missing: `retention`, some weights and gains, which are off then, and `admission`."""
        parts: dict[str, type[Any]] = {
            "slo": Slo,
            "weights": ValueWeights,
            "budget": BudgetGains,
            "step_time": StepTime,
            "retention": Retention,
            "admission": Admission,
        }
        value = {**_newer(), **value}
        fields = _exactly(cls, value, "")
        for name, newer in (("weights", _NEWER_WEIGHTS), ("budget", _NEWER_GAINS)):
            if isinstance(value[name], Mapping):
                value = {**value, name: {**newer, **value[name]}}
        for name, part in parts.items():
            if not isinstance(value[name], Mapping):
                raise SettingsError(f"scheduler.json: {name} must be an object; retrain or correct it")
            fields[name] = part(**_exactly(part, value[name], f"{name}."))
        if not isinstance(fields["profile"], str):
            raise SettingsError("scheduler.json: profile must be a string; retrain or correct it")
        return cls(**fields)


_NEWER_WEIGHTS = {"attained": 0.0, "tenant": 0.0, "future": 0.0, "soon_s": 5.0}
_NEWER_GAINS = {"drain_target": 0.0}


def _newer() -> dict[str, Any]:
    """What bundles that do not know these parts stand for."""
    return {"retention": dataclasses.asdict(Retention(max_share=0.0)), "admission": dataclasses.asdict(Admission())}


def _exactly(cls: type[Any], value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    names = {part.name for part in dataclasses.fields(cls)}
    if wrong := sorted(names ^ set(value)):
        what = ", ".join(f"{prefix}{name} is {'missing' if name in names else 'unknown'}" for name in wrong)
        raise SettingsError(f"scheduler.json: {what}; the bundle is of another release: retrain it with this one")
    return dict(value)
