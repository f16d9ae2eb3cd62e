"""Ablations of AugServe: settings or forecasts under which one part of the deployed scheduler has no effect."""

import dataclasses

from ...models.serving.settings import SchedulerSettings, ValueWeights

FAR_S = 3600.0
"""A deadline beyond any simulation: no turn is late by it."""


def without_stage_one(tuned: SchedulerSettings) -> SchedulerSettings:
    """No expected cost of a turn in the value; the terms of stage II stay."""
    return dataclasses.replace(tuned, weights=dataclasses.replace(tuned.weights, stage_one=0.0))


def without_stage_two(tuned: SchedulerSettings) -> SchedulerSettings:
    """Stage I's cost alone orders the queue: no other term, and no deadline that divides turns into classes."""
    idle = {weight.name: 0.0 for weight in dataclasses.fields(ValueWeights)}
    return dataclasses.replace(
        tuned,
        weights=ValueWeights(**(idle | {"stage_one": 1.0, "soon_s": tuned.weights.soon_s})),
        slo=dataclasses.replace(tuned.slo, ttft_s=FAR_S),
    )


def static_budget(tuned: SchedulerSettings) -> SchedulerSettings:
    """Without gains the controller leaves every step the configured budget."""
    return dataclasses.replace(tuned, budget=dataclasses.replace(tuned.budget, proportional=0.0, integral=0.0))


def without_context(tuned: SchedulerSettings) -> SchedulerSettings:
    """No context is kept over a tool call but by vLLM's own eviction."""
    return dataclasses.replace(tuned, retention=dataclasses.replace(tuned.retention, max_share=0.0))


def hand_set(tuned: SchedulerSettings) -> SchedulerSettings:
    """What holds before tuning; the SLO and the measured step time are no subject of tuning."""
    return SchedulerSettings(slo=tuned.slo, step_time=tuned.step_time, profile=tuned.profile)
