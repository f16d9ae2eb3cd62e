"""Profiles of GPU engines, from kernels that aiconfigurator-core measured under vLLM."""

import dataclasses
import logging
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import yaml

from ...models.serving.settings import StepTime
from ..project.stage import StageError
from ..simulator.profile import EngineLimits, KvTransfer, PrefillAttention, StepProfile
from ..step_times.least_squares import Array, relative_fit
from .engines import Engine
from .fit import Work, errors, regions

TOKEN_GRID = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384)
DECODE_GRID = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
CONTEXT_GRID = (128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
CHUNK_GRID = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
PREFIX_GRID = (0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 122880)
HELD_DECODES = (0, 3, 12, 48, 160, 320)  # the HELD grids are not fitted
HELD_CONTEXTS = (256, 1536, 3072, 6000, 24000, 48000, 100000)
HELD_CHUNKS = (48, 200, 700, 1500, 3000, 6000)
HELD_PREFIXES = (0, 700, 3000, 12000, 24000, 48000, 96000)


@dataclass(frozen=True, slots=True)
class Kernels:
    """Times of an engine's kernels, seconds."""

    handle: Any

    @classmethod
    def of(cls, engine: Engine) -> "Kernels":
        try:
            from aiconfigurator_core.sdk.engine import EngineHandle
        except ImportError as error:
            raise StageError("profile: aiconfigurator-core is not installed; run `make env`") from error
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it logs a warning for each fallback of other models
        try:
            return cls(
                EngineHandle.compile(engine.model.path, engine.gpu.system, "vllm", tp_size=engine.tensor_parallel)
            )
        finally:
            logging.disable(level)

    def others_s(self, tokens: int) -> float:
        """Everything but attention in a step of `tokens` tokens."""
        return float(self.handle.mixed_step_breakdown(tokens, 0, tokens, 2)[1]) / 1000

    def prefill_attention_s(self, tokens: int, chunks: int, prefix: int) -> float:
        """Attention of `chunks` chunks of `tokens` tokens each, each behind `prefix` computed tokens."""
        length = tokens + prefix
        # With the prompts' total as its budget, the library puts all tokens into one step.
        return float(self.handle.mixed_step_breakdown(chunks * length, 0, length, 2, prefix)[2]) / 1000

    def decode_attention_s(self, sequences: int, context: int) -> float:
        return float(self.handle.mixed_step_breakdown(0, sequences, context, 2)[3]) / 1000

    def step_s(self, work: Work) -> float:
        seconds = self.others_s(work.tokens + work.decodes)
        if work.tokens:
            seconds += self.prefill_attention_s(work.prefill_tokens, work.chunks, work.prefix)
        return seconds + (self.decode_attention_s(work.decodes, work.decode_context) if work.decodes else 0)


def gpu_profile(name: str, engine: Engine, gpu_memory_utilization: float) -> tuple[StepProfile, list[Work], Array]:
    """The profile, and the held-out steps with their measured seconds."""
    kernels, limits = Kernels.of(engine), engine.limits(gpu_memory_utilization)
    if limits.kv_tokens < 1:
        raise StageError(
            f"profile {name}: gpu_memory_utilization {gpu_memory_utilization} leaves no memory for KV; "
            "raise it in params.yaml"
        )
    table = np.maximum.accumulate([kernels.others_s(count) for count in TOKEN_GRID])
    start, per_decode, per_context = _decode_terms(kernels, limits)
    profile = StepProfile(
        name=name,
        source=f"aiconfigurator-core, {engine.title} under vLLM, bfloat16",
        limits=limits,
        tokens=TOKEN_GRID,
        table_s=tuple(float(time) for time in table + start),
        per_decode_s=per_decode,
        per_context_token_s=per_context,
        linear=StepTime(),
        prefill=_prefill_terms(kernels, limits, start),
        transfer=kv_transfer(engine),
    )
    works = [work for work in _held_out() if work.fits(limits)]
    seconds = np.array([kernels.step_s(work) for work in works])
    design = _linear_terms(works)
    base, token, decode, context, pair = linear = relative_fit(design, seconds, seconds)
    profile = dataclasses.replace(
        profile,
        linear=StepTime(base, token, decode, context, pair, kv_transfer(engine).token_s),
        residual=_residual(profile, works, seconds, linear_s=design @ linear),
    )
    return profile, works, seconds


def kv_transfer(engine: Engine) -> KvTransfer:
    """Transfers between the engine's GPUs and their host, at the peak of each GPU's own PCIe link."""
    system = engine.gpu.system
    file = resources.files("aiconfigurator_core") / "systems" / f"{system}.yaml"
    link = float(yaml.safe_load(file.read_text(encoding="utf-8"))["node"]["pcie_bw"])
    source = f"aiconfigurator-core, systems/{system}.yaml: pcie_bw, the link's peak, times {engine.tensor_parallel}"
    return KvTransfer(engine.model.kv_token_bytes, link * engine.tensor_parallel, source)


def _decode_terms(kernels: Kernels, limits: EngineLimits) -> list[float]:
    """Decode attention: constant, per sequence, per context token. Errors are relative to the whole step."""
    works = [Work(0, 0, 0, count, context) for count in DECODE_GRID for context in CONTEXT_GRID]
    works = [work for work in works if work.fits(limits)]
    count, context = np.array([(work.decodes, work.decode_context) for work in works], float).T
    attention = np.array([kernels.decode_attention_s(work.decodes, work.decode_context) for work in works])
    others = np.array([kernels.others_s(work.decodes) for work in works])
    return relative_fit(np.column_stack((np.ones(len(works)), count, count * context)), attention, others + attention)


def _prefill_terms(kernels: Kernels, limits: EngineLimits, start: float) -> PrefillAttention:
    """Prefill attention beyond `start`, the cost of every step. Errors are relative to the whole step."""
    works = [Work(tokens, chunks, prefix, 0, 0) for tokens in CHUNK_GRID for prefix in PREFIX_GRID for chunks in (1, 4)]
    works = [work for work in works if work.fits(limits)]
    count, context, pairs = np.array([(work.tokens, work.chunk_context, work.pairs) for work in works], float).T
    attention = np.array([kernels.prefill_attention_s(work.prefill_tokens, work.chunks, work.prefix) for work in works])
    others = np.array([kernels.others_s(int(tokens)) for tokens in count])
    design = np.column_stack((np.ones(len(works)), count, context, pairs))
    return PrefillAttention(*relative_fit(design, np.maximum(attention - start, 0), others + attention))


def _held_out() -> list[Work]:
    decodes = [Work(0, 0, 0, count, context) for count in HELD_DECODES for context in HELD_CONTEXTS]
    prefills = [Work(size, 1, prefix, 0, 0) for size in HELD_CHUNKS for prefix in HELD_PREFIXES]
    prefills += [Work(size, 3, prefix, 0, 0) for size in HELD_CHUNKS for prefix in HELD_PREFIXES]
    mixed = [
        dataclasses.replace(prefill, decodes=count, decode_context=context)
        for prefill in prefills
        for count in HELD_DECODES[1:]
        for context in HELD_CONTEXTS[:4]
    ]
    return decodes + prefills + mixed


def _linear_terms(works: list[Work]) -> Array:
    """What each coefficient of `StepTime` multiplies, without loads, of shape (steps, 5)."""
    rows = [(1, work.tokens, work.decodes, work.decodes * work.decode_context, work.pairs) for work in works]
    return np.array(rows, float)


def _residual(profile: StepProfile, works: list[Work], seconds: Array, linear_s: Array) -> dict[str, float]:
    fitted = np.array([work.seconds(profile) for work in works])
    return {
        **errors(fitted, seconds),
        **regions(works, fitted, seconds),
        "linear_median_relative_error": errors(linear_s, seconds, "linear_")["linear_median_relative_error"],
    }
