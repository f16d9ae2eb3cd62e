"""Step-time profiles: how long an engine takes for a step, as small JSON."""

import bisect
import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from ...data.atomic import write_json
from ...models.serving.settings import StepTime

FORMAT = 1
GIB = 1 << 30
BLOCK_TOKENS = 16
"""Tokens of a KV block: vLLM's default on GPUs."""
LEAST_BLOCKS = 4096
"""Blocks of a cache below which larger ones would hold much fewer contexts."""
CHUNK_PAIRS = 256
"""Assumed query-key pairs of a prompt token: the mean of a chunk of 512 tokens without context."""


Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_EXACT = ConfigDict(extra="forbid")


class ProfileError(ValueError):
    """A profile cannot be used; the message names the file, the cause and the remedy."""


@with_config(_EXACT)
@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits that the engine starts with, in tokens; max_num_seqs in requests."""

    kv_tokens: Count
    max_model_len: Count
    max_num_seqs: Count
    max_num_batched_tokens: Count
    host_kv_tokens: Annotated[int, Field(strict=True, ge=0)] = 0  # host memory of vLLM's offloading connector; 0: off
    block_tokens: Count = BLOCK_TOKENS
    long_prefill_tokens: Annotated[int, Field(strict=True, ge=0)] = 0  # most prompt tokens a step; 0: no limit
    adaptive_long_prefill: bool = False  # whether the limit rises while few requests share the budget
    watermark: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0  # share of KV blocks that newcomers leave free


@with_config(_EXACT)
@dataclass(frozen=True, slots=True)
class KvTransfer:
    """Transfer of KV blocks between the GPUs and host memory; both directions are independent."""

    token_bytes: Count  # KV bytes of a token, on all GPUs together
    bytes_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # over the links of all GPUs, in one direction
    source: str

    @property
    def token_s(self) -> float:
        """Seconds to copy the KV of one token."""
        return self.token_bytes / self.bytes_per_s


@with_config(_EXACT)
@dataclass(frozen=True, slots=True)
class PrefillAttention:
    """Seconds of attention of the prompt chunks of a step: start_s + per_token_s · tokens + per_context_token_s · KV
    tokens + per_pair_s · query-key pairs; 0 without prompt chunks.

    A chunk of n tokens after p computed ones has p + n KV tokens and n · (p + n/2) pairs.
    """

    start_s: Seconds
    per_token_s: Seconds
    per_context_token_s: Seconds
    per_pair_s: Seconds


@with_config(_EXACT)
@dataclass(frozen=True, slots=True)
class StepProfile:
    """Step time = table(new tokens) + per_decode_s · decode sequences + per_context_token_s · context tokens + prefill.

    The table is piecewise linear in the computed tokens, prefill and decode together, and is extrapolated linearly.
    Context tokens are the KV tokens that the sequences attend to. With `prefill`, only those of decode sequences count;
    without `prefill`, the other terms include the attention of prompts.
    """

    name: str
    source: str  # origin of the figures
    limits: EngineLimits
    tokens: Annotated[tuple[Annotated[int, Field(strict=True)], ...], Field(min_length=2)]
    table_s: tuple[Seconds, ...]
    per_decode_s: Seconds
    per_context_token_s: Seconds
    linear: StepTime  # the linear model that the scheduler uses
    residual: Mapping[str, float] = field(default_factory=dict)  # errors of the fit, as shares of the step time
    prefill: PrefillAttention | None = None
    transfer: KvTransfer | None = None  # None: unknown bandwidth, so no KV offloading

    def __post_init__(self) -> None:
        if cause := _inconsistency(self):
            raise ProfileError(f"profile {self.name}: {cause}; rebuild it with `dvc repro profile`")

    def step_s(
        self,
        prefill_tokens: int,
        decode_sequences: int,
        context_tokens: int,
        prefill_context_tokens: int | None = None,
        prefill_pairs: float | None = None,
    ) -> float:
        """Seconds of one step; an empty step takes none.

        Args:
            context_tokens: KV tokens of all sequences of the step.
            prefill_context_tokens: KV tokens of the prompt chunks; by default the chunks have no context.
            prefill_pairs: query-key pairs of the prompt chunks; by default CHUNK_PAIRS a token.
        """
        count = prefill_tokens + decode_sequences
        if count == 0:
            return 0.0
        tokens, table = self.tokens, self.table_s
        upper = min(max(bisect.bisect_left(tokens, count), 1), len(tokens) - 1)
        low = tokens[upper - 1]
        slope = (table[upper] - table[upper - 1]) / (tokens[upper] - low)
        base = table[upper - 1] + slope * (count - low)
        prefill = self.prefill
        if prefill is not None and prefill_tokens:
            chunks = prefill_tokens if prefill_context_tokens is None else prefill_context_tokens
            pairs = CHUNK_PAIRS * prefill_tokens if prefill_pairs is None else prefill_pairs
            base += prefill.start_s + prefill.per_token_s * prefill_tokens
            base += prefill.per_context_token_s * chunks + prefill.per_pair_s * pairs
            context_tokens = max(0, context_tokens - chunks)
        return base + self.per_decode_s * decode_sequences + self.per_context_token_s * context_tokens

    def with_host_memory(self, gib: float) -> "StepProfile":
        """The engine with host memory for KV offloading. Raises ProfileError for a bad size or without a bandwidth."""
        if not (math.isfinite(gib) and gib > 0):
            raise ProfileError(f"KV offloading: {gib} GiB of host memory is no positive number; correct it")
        if self.transfer is None:
            raise ProfileError(
                f"profile {self.name}: no bandwidth to host memory, so KV offloading cannot be timed; "
                "choose the profile of a GPU or switch offloading off"
            )
        tokens = int(gib * GIB // self.transfer.token_bytes)
        return dataclasses.replace(self, limits=dataclasses.replace(self.limits, host_kv_tokens=max(tokens, 1)))

    def with_blocks(self, tokens: int) -> "StepProfile":
        """The engine with larger KV blocks, of so many tokens; unchanged where its cache would have too few of them."""
        limits = self.limits
        if tokens <= limits.block_tokens or limits.kv_tokens // tokens < LEAST_BLOCKS:
            return self
        return dataclasses.replace(self, limits=dataclasses.replace(limits, block_tokens=tokens))

    def save(self, path: Path) -> None:
        write_json(path, {"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: Path) -> "StepProfile":
        """Raises ProfileError for a missing, foreign or damaged file, and for an inconsistent profile."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            made_for = value.pop("format")
            profile = TypeAdapter(StepProfile).validate_python(value)
        except OSError as error:
            raise ProfileError(f"{path}: {error.strerror}; run `dvc repro profile`") from error
        except ValidationError as error:
            first = error.errors()[0]
            cause = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ProfileError(f"{path}: {cause}; run `dvc repro profile`") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProfileError(f"{path}: not a step-time profile ({error}); run `dvc repro profile`") from error
        if made_for != FORMAT:
            raise ProfileError(f"{path}: format {made_for} is not {FORMAT}; run `dvc repro profile`")
        return profile


def _inconsistency(profile: StepProfile) -> str | None:
    """The first contradiction between fields of a profile, or None."""
    limits, tokens, table = profile.limits, profile.tokens, profile.table_s
    if len(tokens) != len(table):
        return f"the table has {len(tokens)} token counts and {len(table)} times"
    if any(b <= a for a, b in itertools.pairwise(tokens)) or tokens[0] > 1:
        return "the table must start at 0 or 1 tokens and rise"
    if tokens[-1] < limits.max_num_batched_tokens:
        return f"the table ends at {tokens[-1]} tokens, before the budget of {limits.max_num_batched_tokens}"
    if any(b < a for a, b in itertools.pairwise(table)) or table[-1] <= 0:
        return "the table falls, or its times are all 0"
    if profile.transfer is None and limits.host_kv_tokens:
        return "no bandwidth to host memory, so KV offloading cannot be timed"
    return None
