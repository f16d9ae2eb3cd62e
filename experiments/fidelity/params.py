"""Section `fidelity` of params.yaml: its workload and its engine."""

import dataclasses
import math
from dataclasses import dataclass

from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.mix import steady_sessions
from augserve.data.workload.model import MAX_TOKENS, Session, ToolCall, Turn
from augserve.data.workload.schedule import Load
from augserve.data.workload.trace_set import fit_context
from augserve.models.serving.settings import Slo
from augserve.pipeline.project.params import require
from augserve.pipeline.simulator.profile import EngineLimits

CPU_BLOCK_TOKENS = 32  # tokens of a KV block: vLLM's CPU attention needs a multiple of 32
KNOWN_POLICIES = ("vllm", "augserve")


@dataclass(frozen=True, slots=True)
class FidelityParams:
    policies: tuple[str, ...]
    loads: tuple[float, ...]
    duration_s: float
    token_scale: float
    time_scale: float
    calibration_s: float
    calibration_rate_per_s: float
    warmup_s: float
    kv_tokens: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    slo_ttft_s: float
    slo_tpot_s: float

    def __post_init__(self) -> None:
        known = set(self.policies) <= set(KNOWN_POLICIES) and bool(self.policies)
        self._require(known, "policies", f"a list of some of {', '.join(KNOWN_POLICIES)}")
        self._require(
            bool(self.loads) and all(map(_is_positive, self.loads)) and len(set(self.loads)) == len(self.loads),
            "loads",
            "a list of positive numbers, each once",
        )
        for key in ("duration_s", "calibration_s", "calibration_rate_per_s", "warmup_s", "slo_ttft_s", "slo_tpot_s"):
            self._require(_is_positive(getattr(self, key)), key, "a positive number")
        for key in ("token_scale", "time_scale"):
            self._require(0 < getattr(self, key) <= 1, key, "above 0 and at most 1")
        for key in ("kv_tokens", "max_model_len", "max_num_seqs", "max_num_batched_tokens"):
            self._require(getattr(self, key) > 0, key, "positive")
        self._require(self.max_model_len <= 8192, "max_model_len", "at most 8192, the model's own")
        self._require(self.max_model_len <= self.kv_tokens, "kv_tokens", "at least max_model_len")
        self._require(self.kv_tokens % CPU_BLOCK_TOKENS == 0, "kv_tokens", f"a multiple of {CPU_BLOCK_TOKENS}, a block")
        fits = self.max_num_seqs <= self.max_num_batched_tokens
        self._require(fits, "max_num_batched_tokens", "at least max_num_seqs")

    def _require(self, holds: bool, key: str, rule: str) -> None:
        require(holds, f"fidelity.{key}", getattr(self, key), rule)

    @property
    def slo(self) -> Slo:
        return Slo(self.slo_ttft_s, self.slo_tpot_s)

    @property
    def limits(self) -> EngineLimits:
        return EngineLimits(
            self.kv_tokens,
            self.max_model_len,
            self.max_num_seqs,
            self.max_num_batched_tokens,
            block_tokens=CPU_BLOCK_TOKENS,
        )

    def server_arguments(self) -> list[str]:
        """Flags of the real server for these limits; the last flag of a name counts."""
        facts = {
            "--max-model-len": self.max_model_len,
            "--max-num-seqs": self.max_num_seqs,
            "--max-num-batched-tokens": self.max_num_batched_tokens,
            "--block-size": CPU_BLOCK_TOKENS,
            "--num-gpu-blocks-override": self.kv_tokens // CPU_BLOCK_TOKENS,
        }
        flags = [text for flag, value in facts.items() for text in (flag, str(value))]
        return ["--enable-prompt-tokens-details", *flags]  # the client sees the cached tokens

    def load(self, rate_per_s: float, duration_s: float, seed: int) -> Load:
        """The shortened mix in steady state. The same seed yields the same sessions at every rate."""
        sessions = steady_sessions(duration_s / self.time_scale, rate_per_s * self.time_scale, seed)
        adjustments = Adjustments()
        short = tuple(shortened(session, self.token_scale, self.time_scale) for session in sessions)
        return Load(fit_context(short, self.max_model_len, adjustments), adjustments)


def shortened(session: Session, token_scale: float, time_scale: float) -> Session:
    """The session with scaled lengths and times; no length becomes 0."""

    def tokens(count: int) -> int:
        return max(1, round(count * token_scale))

    def turn(facts: Turn) -> Turn:
        call = facts.tool_call
        if call is not None:
            call = ToolCall(call.tool, call.duration_s * time_scale, tokens(call.result_tokens))
        return Turn(tokens(facts.new_tokens), tokens(facts.output_tokens), call)

    return dataclasses.replace(
        session,
        arrival_s=session.arrival_s * time_scale,
        turns=tuple(turn(facts) for facts in session.turns),
        max_tokens=tokens(MAX_TOKENS),
    )


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
