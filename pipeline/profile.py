"""Stage `profile`: step-time profiles of engines, from measured kernels (GPUs) and from gathered steps (this CPU)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from tqdm import tqdm

from ..data.atomic import write_json, write_text
from ..data.traces import read_table
from ..models.settings import StepTime
from .params import load_params, require
from .simulator.profile import EngineLimits, StepProfile
from .stage import StageError, run_stage

PROFILES = Path("data/profiles")
STEPS = Path("data/traces/gathered/steps.parquet")
REPORTS = Path("reports/profile")

GIB = 1 << 30
LLAMA_8B = "meta-llama/Meta-Llama-3.1-8B"
LLAMA_8B_WEIGHTS = 16_060_522_496  # bytes in bfloat16
LLAMA_8B_TOKEN = 32 * 8 * 128 * 2 * 2  # KV bytes a token: layers x KV heads x head size x (K, V) x bfloat16
SMOLLM2_TOKEN = 30 * 3 * 64 * 2 * 2
CPU_KV_SPACE = 4 * GIB  # vLLM's default on CPUs

TOKEN_GRID = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384)
DECODE_GRID = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
CONTEXT_GRID = (128, 256, 512, 1024, 1536, 2048, 3072, 4096)
PREFILL_GRID = (16, 64, 256, 512, 1024, 2048, 4096, 8192)
CHUNK_TOKENS = 512  # length at which the table takes a prompt's attention

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProfileParams:
    gpu_memory_utilization: float

    def __post_init__(self) -> None:
        value = self.gpu_memory_utilization
        require(0.3 <= value <= 1, "profile.gpu_memory_utilization", value, "a share from 0.3 to 1")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as vLLM's API server starts on it by default. Memory in bytes."""

    system: str
    memory: int  # what CUDA reports
    reserve: int  # activations at the largest batch, CUDA graphs, CUDA's own
    max_num_batched_tokens: int
    max_num_seqs: int


GPUS = {
    "h100": Gpu("h100_sxm", round(79.2 * GIB), round(2.3 * GIB), 8192, 1024),
    "a100": Gpu("a100_sxm", round(79.2 * GIB), round(1.7 * GIB), 2048, 256),
}


class Kernels:
    """Step times that aiconfigurator-core composes from kernels measured under vLLM, seconds."""

    def __init__(self, model: str, system: str) -> None:
        try:
            from aiconfigurator_core.sdk.engine import EngineHandle
        except ImportError as error:
            raise StageError("profile: aiconfigurator-core is not installed; run `make env`") from error
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it warns of each fallback of models that are not asked for
        try:
            self._engine = EngineHandle.compile(model, system, "vllm")
        finally:
            logging.disable(level)

    def step_s(self, prefill_tokens: int, decode_sequences: int, length: int) -> float:
        """A step of chunks and of decodes, each at `length` tokens of context."""
        return float(self._engine.mixed_step_latency(prefill_tokens, decode_sequences, length, 2)) / 1000


def gpu_profile(gpu_name: str, params: ProfileParams) -> tuple[StepProfile, list[tuple[float, float]]]:
    """Profile of Llama-3.1-8B on that GPU, and (measured, fitted) seconds of steps that the fit has not seen."""
    gpu = GPUS[gpu_name]
    kernels = Kernels(LLAMA_8B, gpu.system)
    table = np.maximum.accumulate([kernels.step_s(n, 0, min(n, CHUNK_TOKENS)) for n in TOKEN_GRID])
    steps = [(0, decodes, context) for decodes in DECODE_GRID for context in CONTEXT_GRID]
    seconds = np.array([kernels.step_s(*step) for step in steps])
    decodes, contexts = np.array([step[1:] for step in steps], float).T
    rest = np.maximum(seconds - np.interp(decodes, TOKEN_GRID, table), 0)
    per_decode, per_context = _fit(np.column_stack((decodes, decodes * contexts)), rest, seconds)
    kv_bytes = gpu.memory * params.gpu_memory_utilization - LLAMA_8B_WEIGHTS - gpu.reserve
    limits = EngineLimits(int(kv_bytes // LLAMA_8B_TOKEN), 131072, gpu.max_num_seqs, gpu.max_num_batched_tokens)
    held_out = [(p, d, c) for p in PREFILL_GRID for d in DECODE_GRID[::3] for c in CONTEXT_GRID[1::2]]
    measured = np.array([kernels.step_s(*step) for step in held_out])
    held = np.array([(p, d, d * c + p) for p, d, c in held_out], float)
    linear = _linear(held, measured)
    profile = StepProfile(
        name=f"llama-3.1-8b-{gpu_name}",
        source=f"aiconfigurator-core, {LLAMA_8B} on {gpu.system} under vLLM, bfloat16",
        limits=limits,
        tokens=TOKEN_GRID,
        table_s=tuple(float(time) for time in table),
        per_decode_s=per_decode,
        per_context_token_s=per_context,
        linear=linear,
    )
    return _with_residual(profile, held, measured)


def cpu_profile(path: Path) -> tuple[StepProfile, list[tuple[float, float]]]:
    """Profile of SmolLM2-135M on this machine, fitted to gathered steps by non-negative least squares."""
    table = read_table(path, "steps")
    columns = [
        table.column(name).to_numpy().astype(float) for name in ("prefill_tokens", "decode_sequences", "context_tokens")
    ]
    steps = np.column_stack(columns)
    seconds = table.column("step_s").to_numpy().astype(float)
    usable = (steps[:, 0] + steps[:, 1] > 0) & (seconds > 0)
    steps, seconds = steps[usable], seconds[usable]
    if len(seconds) < 50:
        raise StageError(f"{path}: holds {len(seconds)} steps with work, 50 are needed for a fit; gather more")
    count = steps[:, 0] + steps[:, 1]
    # Relative weights: a decode step of 20 ms counts as much as a prefill step of a second.
    design = np.column_stack((np.ones(len(count)), count, steps[:, 1], steps[:, 2]))
    base, per_token, per_decode, per_context = _fit(design, seconds, seconds)
    top = 8192
    profile = StepProfile(
        name="cpu",
        source="steps gathered on this machine, SmolLM2-135M-Instruct in vLLM's CPU engine",
        limits=EngineLimits(CPU_KV_SPACE // SMOLLM2_TOKEN, 8192, 128, 2048),
        tokens=(1, top),
        table_s=(base + per_token, base + per_token * top),
        per_decode_s=per_decode,
        per_context_token_s=per_context,
        linear=StepTime(base, per_token, per_token + per_decode, per_context),
    )
    return _with_residual(profile, steps, seconds)


def _fit(design: Array, target: Array, scale: Array) -> list[float]:
    """Non-negative least squares of errors relative to `scale`."""
    coefficients, _ = nnls(design / scale[:, None], target / scale)
    return [float(value) for value in coefficients]


def _linear(steps: Array, seconds: Array) -> StepTime:
    return StepTime(*_fit(np.column_stack((np.ones(len(steps)), steps)), seconds, seconds))


def _with_residual(profile: StepProfile, steps: Array, seconds: Array) -> tuple[StepProfile, list[tuple[float, float]]]:
    fitted = np.array([profile.step_s(int(p), int(d), int(c)) for p, d, c in steps])
    linear = profile.linear
    straight = linear.base_s + steps @ (linear.per_prefill_token_s, linear.per_decode_s, linear.per_context_token_s)
    residual = {
        "median_relative_error": float(np.median(np.abs(fitted / seconds - 1))),
        "p90_relative_error": float(np.percentile(np.abs(fitted / seconds - 1), 90)),
        "linear_median_relative_error": float(np.median(np.abs(straight / seconds - 1))),
        "total_time_error": float(fitted.sum() / seconds.sum() - 1),
        "steps": float(len(seconds)),
    }
    done = StepProfile(**{**{name: getattr(profile, name) for name in profile.__slots__}, "residual": residual})
    return done, list(zip(seconds.tolist(), fitted.tolist(), strict=True))


def _write(profile: StepProfile, pairs: list[tuple[float, float]]) -> Mapping[str, float]:
    profile.save(PROFILES / f"{profile.name}.json")
    shown = pairs[:: max(1, len(pairs) // 500)]
    rows = "".join(f"{measured:.6g},{fitted:.6g}\n" for measured, fitted in shown)
    write_text(REPORTS / f"{profile.name}.csv", "measured_s,fitted_s\n" + rows)
    return {**profile.residual, "kv_tokens": profile.limits.kv_tokens}


def main() -> None:
    params = load_params("profile", ProfileParams)
    metrics = {}
    for name in tqdm((*GPUS, "cpu"), desc="profile", unit="engine"):
        profile, pairs = cpu_profile(STEPS) if name == "cpu" else gpu_profile(name, params)
        metrics[profile.name] = _write(profile, pairs)
    write_json(REPORTS / "metrics.json", metrics)


if __name__ == "__main__":
    run_stage(main)
