"""The profile of this machine's CPU engine, fitted to the steps that `gather` recorded.

Tools and clients run on the same machine, so equal steps differ in time. No function of a step's counts can have a
smaller error than this spread, `noise_median_relative_error`. The fit excludes stretches in which other processes used
the processor; the profile reports the errors with and without them.
"""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.tables.files import read_table
from ...models.serving.settings import StepTime
from ..project.stage import StageError
from ..simulator.profile import EngineLimits, PrefillAttention, StepProfile
from ..step_times.least_squares import Array, settled_fit
from .engines import CPU
from .fit import errors

Flags = NDArray[np.bool_]
logger = logging.getLogger(__name__)

COLUMNS = ("prefill_tokens", "decode_sequences", "context_tokens")
SMOLLM2_TOKEN = 30 * 3 * 64 * 2 * 2  # KV bytes a token: layers x KV heads x head size x (K, V) x bfloat16
CPU_KV_SPACE = 4 << 30  # vLLM's default on CPUs
LIMITS = EngineLimits(CPU_KV_SPACE // SMOLLM2_TOKEN, 8192, 128, 2048)
TOP_TOKENS = 8192
LEAST_STEPS = 50
ROUNDS = 6
WINDOW_STEPS = 21  # length of a stretch
BUSY_FACTOR = 1.3  # median slowness of a busy stretch, relative to a quiet one
LIKE_STEPS = 5  # least number of alike steps for a spread
LARGEST_NOISE = 0.2  # median error of alike steps above which the machine was too busy to be measured


def cpu_profile(path: Path, pairs: Array | None = None) -> tuple[StepProfile, Array, Array]:
    """The profile of SmolLM2-135M on this machine, and the measured and fitted seconds of the quiet steps.

    `pairs`: query-key pairs of each step's prompt chunks, where they are known. Without them the prompts' tokens and
    contexts stand for them. Raises StageError for too few steps.
    """
    steps, seconds = _read(path, pairs)
    quiet = np.ones(len(seconds), bool)
    for _ in range(ROUNDS):
        terms = _fit(steps[quiet], seconds[quiet])
        quiet = _quiet(seconds / np.maximum(_design(steps) @ terms, 1e-9))
    residual = _residual(steps, seconds, terms, quiet)
    if (noise := residual.get("noise_median_relative_error", 0)) > LARGEST_NOISE:
        logger.warning(
            "%s: equal steps differ by %.0f %%: the machine was busy; gather again when it is idle", path, 100 * noise
        )
    base, per_token, per_decode, per_context, per_pair = terms
    attention = None if pairs is None else PrefillAttention(0.0, 0.0, per_context, per_pair)
    profile = StepProfile(
        name=CPU,
        source="steps gathered on this machine, SmolLM2-135M-Instruct in vLLM's CPU engine",
        limits=LIMITS,
        tokens=(1, TOP_TOKENS),
        table_s=(base + per_token, base + per_token * TOP_TOKENS),
        per_decode_s=per_decode,
        per_context_token_s=per_context,
        linear=StepTime(base, per_token, per_token + per_decode, per_context, per_pair_s=per_pair),
        residual=residual,
        prefill=attention,
    )
    return profile, seconds[quiet], _design(steps[quiet]) @ terms


def _read(path: Path, pairs: Array | None) -> tuple[Array, Array]:
    """(steps, 4): COLUMNS and the pairs, 0 where they are not known; and the seconds."""
    table = read_table(path, "steps")
    counts = [table.column(name).to_numpy().astype(float) for name in COLUMNS]
    steps = np.column_stack([*counts, np.zeros(len(table)) if pairs is None else pairs])
    seconds = table.column("step_s").to_numpy().astype(float)
    usable = (steps[:, 0] + steps[:, 1] > 0) & (seconds > 0)
    if usable.sum() < LEAST_STEPS:
        raise StageError(f"{path}: {usable.sum()} steps with work, but a fit needs {LEAST_STEPS}; gather more")
    return steps[usable], seconds[usable]


def _design(steps: Array) -> Array:
    """(steps, 5): 1, computed tokens, decode sequences, context tokens, query-key pairs of prompts."""
    return np.column_stack((np.ones(len(steps)), steps[:, 0] + steps[:, 1], steps[:, 1:]))


def _fit(steps: Array, seconds: Array) -> list[float]:
    return [float(term) for term in settled_fit(_design(steps), seconds)]


def _quiet(slowness: Array) -> Flags:
    """Whether each step lies in a stretch near the pace of the quietest fifth. All steps if too few do."""
    half = WINDOW_STEPS // 2
    pace = np.array([np.median(slowness[max(0, at - half) : at + half + 1]) for at in range(len(slowness))])
    quiet: Flags = pace <= BUSY_FACTOR * np.percentile(pace, 20)
    return quiet if quiet.sum() >= LEAST_STEPS else np.ones(len(slowness), bool)


def _residual(steps: Array, seconds: Array, terms: list[float], quiet: Flags) -> dict[str, float]:
    fitted = _design(steps) @ terms
    residual = {**errors(fitted[quiet], seconds[quiet]), **errors(fitted, seconds, "all_steps_")}
    for name, chosen in (
        ("decode", steps[:, 0] == 0),
        ("prefill", steps[:, 1] == 0),
        ("mixed", steps[:, :2].all(axis=1)),
    ):
        if (rows := quiet & chosen).any():
            residual[f"{name}_median_relative_error"] = float(np.median(np.abs(fitted[rows] / seconds[rows] - 1)))
    return residual | _noise(steps[quiet], seconds[quiet])


def _noise(steps: Array, seconds: Array) -> dict[str, float]:
    """Median error of the best constant for each kind of alike steps.

    Alike steps have prompt tokens within 40 %, the same number of decodes and context tokens within 1024.
    """
    kinds = np.column_stack((np.floor(2 * np.log2(steps[:, 0] + 1)), steps[:, 1], steps[:, 2] // 1024))
    _, index = np.unique(kinds, axis=0, return_inverse=True)
    errors_found = [
        np.abs(np.median(seconds[index == kind]) / seconds[index == kind] - 1)
        for kind in np.flatnonzero(np.bincount(index) >= LIKE_STEPS)
    ]
    return {"noise_median_relative_error": float(np.median(np.concatenate(errors_found)))} if errors_found else {}
