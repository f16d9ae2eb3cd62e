"""Steps to measure, and the errors of a profile by region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..simulator.profile import EngineLimits, StepProfile
from ..step_times.least_squares import Array

CONTEXT_EDGES = (0, 1024, 4096, 16384, 65536, 1 << 62)


@dataclass(frozen=True, slots=True)
class Work:
    """A step: equal chunks of prompts and equal decodes, in tokens."""

    prefill_tokens: int  # of one chunk
    chunks: int
    prefix: int  # tokens before each chunk, computed earlier
    decodes: int
    decode_context: int  # of each

    @property
    def tokens(self) -> int:
        """Prompt tokens of the step."""
        return self.prefill_tokens * self.chunks

    @property
    def chunk_context(self) -> int:
        """KV tokens of the chunks, including their own."""
        return (self.prefix + self.prefill_tokens) * self.chunks

    @property
    def pairs(self) -> float:
        """Query-key pairs of the chunks."""
        return self.tokens * (self.prefix + self.prefill_tokens / 2)

    @property
    def region(self) -> str:
        if not self.prefill_tokens:
            return "decode"
        return "mixed" if self.decodes else "prefill"

    @property
    def context(self) -> int:
        """Longest context of a sequence of the step."""
        return max(self.prefix + self.prefill_tokens if self.prefill_tokens else 0, self.decode_context)

    def fits(self, limits: EngineLimits, more_tokens: int = 0) -> bool:
        """Whether an engine computes the step at once, with `more_tokens` further tokens per sequence."""
        tokens = self.tokens + self.decodes
        memory = self.chunk_context + self.decodes * self.decode_context + more_tokens * (self.chunks + self.decodes)
        return (
            0 < tokens <= limits.max_num_batched_tokens
            and memory <= limits.kv_tokens
            and self.chunks + self.decodes <= limits.max_num_seqs
            and self.context + more_tokens <= limits.max_model_len
        )

    def seconds(self, profile: StepProfile) -> float:
        context = self.chunk_context + self.decodes * self.decode_context
        return profile.step_s(self.tokens, self.decodes, context, self.chunk_context, self.pairs)


def errors(fitted: Array, seconds: Array, prefix: str = "") -> dict[str, float]:
    """Median and p90 of the relative errors, the error of the total time and the number of steps."""
    relative = np.abs(fitted / seconds - 1)
    return {
        f"{prefix}median_relative_error": float(np.median(relative)),
        f"{prefix}p90_relative_error": float(np.percentile(relative, 90)),
        f"{prefix}total_time_error": float(fitted.sum() / seconds.sum() - 1),
        f"{prefix}steps": float(len(seconds)),
    }


def regions(works: Sequence[Work], fitted: Array, seconds: Array) -> dict[str, float]:
    """Median relative error by kind of step and by its longest context."""
    relative = np.abs(fitted / seconds - 1)
    groups: dict[str, list[float]] = {}
    for work, error in zip(works, relative, strict=True):
        upper = next(edge for edge in CONTEXT_EDGES[1:] if work.context <= edge)
        length = f"to_{upper}" if upper < CONTEXT_EDGES[-1] else f"above_{CONTEXT_EDGES[-2]}"
        groups.setdefault(work.region, []).append(float(error))
        groups.setdefault(f"{work.region}_context_{length}", []).append(float(error))
    return {f"{name}_median_relative_error": float(np.median(errors)) for name, errors in sorted(groups.items())}
