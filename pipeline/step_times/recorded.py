"""A profile fitted to the recorded steps of an engine: each of its terms gets a factor of its own.

One factor for all would be wrong as soon as another policy makes other steps: more decodes, fewer prompts.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from ...models.serving.settings import StepTime
from ..simulator.profile import StepProfile
from .least_squares import Array, settled_fit
from .scaling import TermFactors, scaled

PRIOR = 0.3
"""A step's usual error over that by which factors differ: what holds where the steps tell nothing of a term."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Recorded steps that did something, each column of shape (steps,)."""

    prefill_tokens: Array
    decodes: Array
    context_tokens: Array  # KV tokens of all sequences
    chunk_pairs: Array  # query-key pairs of the prompt chunks
    chunk_kv_tokens: Array  # KV tokens of the prompt chunks
    seconds: Array


@dataclass(frozen=True, slots=True)
class Fitted:
    profile: StepProfile
    factor: float  # recorded time over that of the profile before
    median_error: float  # of a step's time, relative


def fitted(profile: StepProfile, steps: Steps) -> Fitted:
    """The profile with its terms scaled to the steps, by non-negative least squares of relative errors.

    The total time of the steps is kept exactly.
    """
    terms, seconds = _terms(profile, steps), steps.seconds
    factor = float(seconds.sum() / terms.sum())
    factors = settled_fit(terms, seconds, np.full(terms.shape[1], factor), PRIOR)
    factors *= seconds.sum() / (terms @ factors).sum()
    error = float(np.median(np.abs(terms @ factors / seconds - 1)))
    linear = dataclasses.replace(_linear(steps), per_loaded_token_s=profile.linear.per_loaded_token_s)
    found = dataclasses.replace(scaled(profile, TermFactors(*map(float, factors))), linear=linear)
    return Fitted(found, factor, error)


def _terms(profile: StepProfile, steps: Steps) -> Array:
    """(steps, 5): seconds of the profile's terms in the order of `TermFactors`; they add up to its step time."""
    computed = steps.prefill_tokens + steps.decodes
    table = dataclasses.replace(profile, per_decode_s=0.0, per_context_token_s=0.0, prefill=None)
    table_s = np.array([table.step_s(0, int(count), 0) for count in computed])
    floor_s = np.minimum(table_s, profile.table_s[0])
    prefill, chunk_context = profile.prefill, np.zeros(len(computed))
    prompts_s = np.zeros(len(computed))
    if prefill is not None:
        chunk_context = steps.chunk_kv_tokens
        prompts_s = prefill.start_s + prefill.per_token_s * steps.prefill_tokens
        prompts_s += prefill.per_context_token_s * chunk_context + prefill.per_pair_s * steps.chunk_pairs
        prompts_s *= steps.prefill_tokens > 0
    context = np.maximum(steps.context_tokens - chunk_context, 0.0)
    decodes_s, context_s = profile.per_decode_s * steps.decodes, profile.per_context_token_s * context
    return np.column_stack((floor_s, table_s - floor_s, decodes_s, context_s, prompts_s))


def _linear(steps: Steps) -> StepTime:
    """The model that the scheduler uses. Recorded steps tell nothing of loads from host memory."""
    ones = np.ones(len(steps.seconds))
    decode_context = np.maximum(steps.context_tokens - steps.chunk_kv_tokens, 0.0)
    design = np.column_stack((ones, steps.prefill_tokens, steps.decodes, decode_context, steps.chunk_pairs))
    return StepTime(*map(float, settled_fit(design, steps.seconds)))
