"""Step-time profiles: how long an engine takes for a step, as small JSON."""

import bisect
import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ...data.atomic import write_json
from ...models.serving.settings import StepTime

FORMAT = 1
GIB = 1 << 30
BLOCK_TOKENS = 16
"""Tokens of a KV block: vLLM's default on GPUs."""
CHUNK_PAIRS = 256
"""Assumed query-key pairs of a prompt token: the mean of a chunk of 512 tokens without context."""


class ProfileError(ValueError):
    """A profile cannot be used; the message names the file, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits that the engine starts with, in tokens; max_num_seqs in requests."""

    kv_tokens: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    host_kv_tokens: int = 0  # host memory of vLLM's offloading connector; 0: off
    block_tokens: int = BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class KvTransfer:
    """Transfer of KV blocks between the GPUs and host memory; both directions are independent."""

    token_bytes: int  # KV bytes of a token, on all GPUs together
    bytes_per_s: float  # over the links of all GPUs, in one direction
    source: str


@dataclass(frozen=True, slots=True)
class PrefillAttention:
    """Seconds of attention of the prompt chunks of a step: start_s + per_token_s · tokens + per_context_token_s · KV
    tokens + per_pair_s · query-key pairs; 0 without prompt chunks.

    A chunk of n tokens after p computed ones has p + n KV tokens and n · (p + n/2) pairs.
    """

    start_s: float
    per_token_s: float
    per_context_token_s: float
    per_pair_s: float


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
    tokens: tuple[int, ...]
    table_s: tuple[float, ...]
    per_decode_s: float
    per_context_token_s: float
    linear: StepTime  # the linear model that the scheduler uses
    residual: Mapping[str, float] = field(default_factory=dict)  # errors of the fit, as shares of the step time
    prefill: PrefillAttention | None = None
    transfer: KvTransfer | None = None  # None: unknown bandwidth, so no KV offloading

    def __post_init__(self) -> None:
        if cause := _flaw(self):
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

    def save(self, path: Path) -> None:
        write_json(path, {"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises ProfileError for a missing, foreign or damaged file, and for an inconsistent profile."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ProfileError(f"{path}: {error.strerror}; run `dvc repro profile`") from error
        except ValueError as error:
            raise ProfileError(f"{path}: not valid JSON; run `dvc repro profile`") from error
        try:
            return cls._from_json(value)
        except ProfileError as error:
            raise ProfileError(f"{path}: {error}") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProfileError(f"{path}: not a step-time profile ({error}); run `dvc repro profile`") from error

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> Self:
        if value.pop("format") != FORMAT:
            raise TypeError(f"format is not {FORMAT}")
        value["limits"] = EngineLimits(**value["limits"])
        value["linear"] = StepTime(**value["linear"])
        value["tokens"] = tuple(value["tokens"])
        value["table_s"] = tuple(value["table_s"])
        if value.get("prefill") is not None:
            value["prefill"] = PrefillAttention(**value["prefill"])
        if value.get("transfer") is not None:
            value["transfer"] = KvTransfer(**value["transfer"])
        return cls(**value)


def _flaw(profile: StepProfile) -> str | None:
    """The first inconsistency of a profile, or None."""
    limits, tokens, table = profile.limits, profile.tokens, profile.table_s
    for name, value in dataclasses.asdict(limits).items():
        least = 0 if name == "host_kv_tokens" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            return f"{name} is {value!r}: it must be a whole number of {least} or more"
    if len(tokens) < 2 or len(tokens) != len(table):
        return (
            f"the table has {len(tokens)} token counts and {len(table)} times: it needs as many of both, at least two"
        )
    if not all(isinstance(count, int) for count in tokens):
        return "the table's token counts must be whole numbers"
    if any(b <= a for a, b in itertools.pairwise(tokens)) or tokens[0] > 1:
        return "the table must start at 0 or 1 tokens and rise"
    if tokens[-1] < limits.max_num_batched_tokens:
        return f"the table ends at {tokens[-1]} tokens, before the budget of {limits.max_num_batched_tokens}"
    others = [profile.per_decode_s, profile.per_context_token_s]
    if profile.prefill is not None:
        others += dataclasses.asdict(profile.prefill).values()
    for time in (*table, *others):
        if not isinstance(time, int | float) or not math.isfinite(time) or time < 0:
            return f"a time is {time!r}: it must be a number, finite and not negative"
    for low, high, first, second in zip(tokens, tokens[1:], table, table[1:], strict=False):
        if second < first:
            return f"the table falls from {first} s at {low} tokens to {second} s at {high}"
    transfer = profile.transfer
    if transfer is None and limits.host_kv_tokens:
        return "no bandwidth to host memory, so KV offloading cannot be timed"
    if transfer is not None and not (transfer.token_bytes > 0 and 0 < transfer.bytes_per_s < math.inf):
        return f"KV moves {transfer.token_bytes} bytes a token at {transfer.bytes_per_s}/s: both must be positive"
    return "the table's times are all 0" if table[-1] <= 0 else None
