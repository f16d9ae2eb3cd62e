"""Ablations of AugServe: settings or forecasts under which one part of the deployed scheduler has no effect."""

import dataclasses

from ....models.serving.settings import SchedulerSettings, ValueWeights

FAR_S = 3600.0
"""A TTFT limit longer than any simulation."""


def without_stage_one(tuned: SchedulerSettings) -> SchedulerSettings:
    """The value without the expected cost of a turn, but with the terms of stage II."""
    return dataclasses.replace(tuned, weights=dataclasses.replace(tuned.weights, stage_one=0.0))


def without_stage_two(tuned: SchedulerSettings) -> SchedulerSettings:
    """Only the cost of stage I orders the queue, without other terms and without classes by deadline."""
    idle = {weight.name: 0.0 for weight in dataclasses.fields(ValueWeights)}
    return dataclasses.replace(
        tuned,
        weights=ValueWeights(**(idle | {"stage_one": 1.0, "soon_s": tuned.weights.soon_s})),
        slo=dataclasses.replace(tuned.slo, ttft_s=FAR_S),
    )


def without_context(tuned: SchedulerSettings) -> SchedulerSettings:
    """No context is pinned; vLLM's eviction alone decides."""
    return dataclasses.replace(tuned, residency=dataclasses.replace(tuned.residency, share=0.0))


def whole_prompts(tuned: SchedulerSettings) -> SchedulerSettings:
    """A heavy prompt takes all prompt tokens of each step until it is computed."""
    return dataclasses.replace(tuned, budget=dataclasses.replace(tuned.budget, running_share=1.0))


def hand_set(tuned: SchedulerSettings) -> SchedulerSettings:
    """The settings before tuning, with the SLO and the measured step time, which are not tuned."""
    return SchedulerSettings(slo=tuned.slo, step_time=tuned.step_time, profile=tuned.profile)
