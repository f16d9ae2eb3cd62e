"""Section `fidelity` of params.yaml: its workloads and its engine."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from augserve.data.tables.schema import LONGEST_PAUSE_S
from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.closed_loop import closed_load
from augserve.data.workload.coding_agents.sessions import coding_sequence
from augserve.data.workload.mix import steady_sessions
from augserve.data.workload.model import Session
from augserve.data.workload.schedule import Load
from augserve.data.workload.trace_set import fit_context
from augserve.models.serving.settings import Slo
from augserve.pipeline.project.params import Section
from augserve.pipeline.simulator.profile import EngineLimits

from .scaling import shortened

CPU_BLOCK_TOKENS = 32  # tokens of a KV block: vLLM's CPU attention needs a multiple of 32
Scale = Annotated[float, Field(gt=0, le=1)]


class FidelityParams(Section):
    SECTION = "fidelity"
    policies: tuple[Literal["vllm", "augserve"], ...] = Field(min_length=1)
    loads: tuple[PositiveFloat, ...] = Field(min_length=1)
    duration_s: PositiveFloat
    drain_s: PositiveFloat
    token_scale: Scale
    time_scale: Scale
    agents: tuple[PositiveInt, ...]
    agents_warmup_s: PositiveFloat
    agents_window_s: PositiveFloat
    agents_token_scale: Scale
    agents_time_scale: Scale
    agents_pause_cap_s: float = Field(ge=0, le=LONGEST_PAUSE_S)
    calibration_s: PositiveFloat
    calibration_rate_per_s: PositiveFloat
    calibration_agents_s: PositiveFloat
    warmup_s: PositiveFloat
    kv_tokens: int = Field(gt=0, multiple_of=CPU_BLOCK_TOKENS)
    max_model_len: int = Field(gt=0, le=8192)  # the model's own limit
    max_num_seqs: PositiveInt
    max_num_batched_tokens: PositiveInt
    slo_ttft_s: PositiveFloat
    slo_tpot_s: PositiveFloat

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        for name, values in (("loads", self.loads), ("agents", self.agents)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} is {values}: it must name each load once")
        if self.kv_tokens < self.max_model_len:
            raise ValueError(f"kv_tokens is {self.kv_tokens}: it must be at least max_model_len, {self.max_model_len}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}: it must be at least max_num_seqs"
            )
        return self

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

    def agents_load(self, agents: int, duration_s: float, seed: int) -> Load:
        """Shortened sessions of coding agents in a closed loop, the first ones of a sequence that `seed` determines."""
        adjustments = Adjustments()
        load = closed_load(self._coding(seed, adjustments), agents, duration_s, seed, self.agents_pause_cap_s)
        return dataclasses.replace(load, adjustments=adjustments)

    def _coding(self, seed: int, adjustments: Adjustments) -> Iterator[Session]:
        for whole in coding_sequence(seed):
            short = shortened(whole, self.agents_token_scale, self.agents_time_scale)
            yield from fit_context((short,), self.max_model_len, adjustments)
