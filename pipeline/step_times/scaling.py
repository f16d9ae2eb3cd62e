"""A profile whose terms take other times, such as those of a slower machine."""

import dataclasses
from dataclasses import dataclass

from ..simulator.profile import PrefillAttention, StepProfile


@dataclass(frozen=True, slots=True)
class TermFactors:
    """Factors on the terms of a step's time."""

    fixed: float  # the table's first entry
    tokens: float  # what the table adds to it
    decodes: float
    context: float
    prompts: float  # their attention


def scaled(profile: StepProfile, factors: TermFactors) -> StepProfile:
    """`linear`, which the scheduler uses, stays."""
    prefill, fixed_s = profile.prefill, profile.table_s[0]
    if prefill is not None:
        prefill = PrefillAttention(*(factors.prompts * time_s for time_s in dataclasses.astuple(prefill)))
    table_s = (
        factors.fixed * min(time_s, fixed_s) + factors.tokens * max(time_s - fixed_s, 0.0) for time_s in profile.table_s
    )
    return dataclasses.replace(
        profile,
        table_s=tuple(table_s),
        per_decode_s=factors.decodes * profile.per_decode_s,
        per_context_token_s=factors.context * profile.per_context_token_s,
        prefill=prefill,
    )


def slowed(profile: StepProfile, factor: float) -> StepProfile:
    """The profile with all terms scaled alike."""
    return scaled(profile, TermFactors(factor, factor, factor, factor, factor))
