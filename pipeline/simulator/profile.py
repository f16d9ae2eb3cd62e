"""Step-time profiles: how long an engine takes for a step, as small JSON."""

import bisect
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ...data.atomic import write_json
from ...models.settings import StepTime

FORMAT = 1


class ProfileError(ValueError):
    """A profile cannot be used; the message names the file, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine is started with. Tokens, but for max_num_seqs (requests)."""

    kv_tokens: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Step time = table(new tokens) + per_decode_s · decode sequences + per_context_token_s · context tokens.

    The table is piecewise linear in the tokens that the step computes, prefill and decode together, and goes on
    linearly beyond its last point. Context tokens are the KV tokens that the step's sequences attend to.
    """

    name: str
    source: str  # where the figures come from
    limits: EngineLimits
    tokens: tuple[int, ...]
    table_s: tuple[float, ...]
    per_decode_s: float
    per_context_token_s: float
    linear: StepTime  # the same, as the scheduler knows it
    residual: Mapping[str, float] = field(default_factory=dict)  # of the fit, shares of the step time

    def __post_init__(self) -> None:
        if len(self.tokens) < 2 or len(self.tokens) != len(self.table_s):
            raise ProfileError(f"profile {self.name}: the table needs two points or more, one time a point; rebuild it")
        if any(b <= a for a, b in zip(self.tokens, self.tokens[1:], strict=False)) or self.tokens[0] > 1:
            raise ProfileError(f"profile {self.name}: the table must start at 0 or 1 tokens and rise; rebuild it")
        times = (*self.table_s, self.per_decode_s, self.per_context_token_s)
        if not all(math.isfinite(time) and time >= 0 for time in times) or self.table_s[-1] <= 0:
            raise ProfileError(f"profile {self.name}: a time is negative or not a number; rebuild it")
        for name in ("kv_tokens", "max_model_len", "max_num_seqs", "max_num_batched_tokens"):
            if getattr(self.limits, name) < 1:
                raise ProfileError(f"profile {self.name}: {name} must be positive; rebuild it")

    def step_s(self, prefill_tokens: int, decode_sequences: int, context_tokens: int) -> float:
        """Seconds of one step; an empty step takes none."""
        count = prefill_tokens + decode_sequences
        if count == 0:
            return 0.0
        tokens, table = self.tokens, self.table_s
        upper = min(max(bisect.bisect_left(tokens, count), 1), len(tokens) - 1)
        low = tokens[upper - 1]
        slope = (table[upper] - table[upper - 1]) / (tokens[upper] - low)
        base = table[upper - 1] + slope * (count - low)
        return base + self.per_decode_s * decode_sequences + self.per_context_token_s * context_tokens

    def save(self, path: Path) -> None:
        write_json(path, {"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises ProfileError for a missing, foreign or damaged file."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ProfileError(f"{path}: {error.strerror}; run `dvc repro profile`") from error
        except ValueError as error:
            raise ProfileError(f"{path}: not valid JSON; run `dvc repro profile`") from error
        try:
            return cls._from_json(value)
        except (KeyError, TypeError, AttributeError) as error:
            raise ProfileError(f"{path}: not a step-time profile ({error}); run `dvc repro profile`") from error

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> Self:
        if value.pop("format") != FORMAT:
            raise TypeError(f"format is not {FORMAT}")
        value["limits"] = EngineLimits(**value["limits"])
        value["linear"] = StepTime(**value["linear"])
        value["tokens"] = tuple(value["tokens"])
        value["table_s"] = tuple(value["table_s"])
        return cls(**value)
