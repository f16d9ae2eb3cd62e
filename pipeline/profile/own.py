"""Profiles of the deployment's own engines, fitted to the steps that `make retrain` has added."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...data.tables.files import table_files
from ...data.tables.sessions import read_sessions
from ..project import paths
from ..project.stage import StageError
from ..simulator.profile import StepProfile
from ..step_times.engine import Engine, longest_request_tokens, nearest_engine
from ..step_times.steps import RecordedSteps
from .engines import BUILT_IN

WORST_ERROR = 0.35
"""Median error of a step above which a fitted profile is not used. Profiles with 23 % missed the throughput of a real
server by 13 % at most, those with 42 to 46 % by up to 32 % (docs/lab/2026-11-25-fidelity.md)."""

logger = logging.getLogger(__name__)


def refuse_taken(names: Iterable[str]) -> None:
    """Raises StageError for a set whose profile would replace another one."""
    for name in names:
        if name in BUILT_IN:
            raise StageError(
                f"data.sources: {name!r} is the name of an engine's profile, too; "
                f"rename {paths.TRACES / name} and its entry in params.yaml"
            )


def own_engine(name: str, profiles: Sequence[StepProfile], root: Path = Path()) -> Engine | None:
    """The engine of the set `name`: the nearest of `profiles`, fitted to its steps. None, with one line of the log,
    where they do not tell it. Raises TraceError for an unusable file."""
    try:
        engine = _fitted(root / paths.TRACES / name, profiles)
    except StageError as error:
        logger.warning("%s. Its workload runs on the built-in profiles that params.yaml names.", error)
        return None
    facts = (name, engine.profile.name, engine.factor, engine.steps, 100 * engine.median_error)
    logger.info("%s: its engine is %s, times x %.3g, fitted to %d steps with a median error of %.1f %%", *facts)
    return engine


def _fitted(folder: Path, profiles: Sequence[StepProfile]) -> Engine:
    """Raises StageError where the steps do not tell the engine."""
    if not table_files(folder, "steps"):
        raise StageError(f"{folder}: no recorded steps, so its engine is not known; run `make retrain` on it again")
    longest_tokens = longest_request_tokens(read_sessions([folder], vectors=False))
    engine = nearest_engine(RecordedSteps.read(folder), profiles, longest_tokens)
    if not engine.median_error <= WORST_ERROR:
        raise StageError(
            f"{folder}: no profile fits its steps: the nearest, {engine.profile.name}, has a median error of "
            f"{engine.median_error:.0%}, more than {WORST_ERROR:.0%}; record on a machine without other work"
        )
    return engine


def named(name: str, engine: Engine) -> StepProfile:
    """The engine's profile under the name of the set."""
    base = engine.profile
    source = f"steps of {paths.TRACES / name}; {base.name}, times x {engine.factor:.3g}: {base.source}"
    residual = {"median_relative_error": engine.median_error, "steps": float(engine.steps)}
    return dataclasses.replace(base, name=name, source=source, residual=residual)
