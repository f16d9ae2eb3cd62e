"""Stage `profile`: step-time profiles of GPU engines from measured kernels, of this CPU from gathered steps, and of the
deployment's own engines from recorded ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from ...data.atomic import write_json
from ..project import paths
from ..project.own_workloads import own_workloads
from ..project.params import Section, load_params
from ..project.trace_sources import DataParams
from ..simulator.profile import StepProfile
from .cpu import cpu_profile
from .engines import BUILT_IN, CPU, ENGINES
from .kernels import gpu_profile
from .own import named, own_engine, refuse_taken
from .report import REPORTS, context_table, write_context, write_pairs


class ProfileParams(Section):
    SECTION = "profile"
    gpu_memory_utilization: float = Field(ge=0.3, le=1)


def main() -> None:
    params = load_params(ProfileParams)
    own = [workload.name for workload in own_workloads(load_params(DataParams))]
    refuse_taken(own)
    profiles, tables = [], []
    for name in tqdm(BUILT_IN, desc="profile", unit="engine"):
        if name == CPU:
            profile, measured, fitted = cpu_profile(paths.GATHERED_TRACES / "steps.parquet")
        else:
            profile, works, measured = gpu_profile(name, ENGINES[name], params.gpu_memory_utilization)
            fitted = np.array([work.seconds(profile) for work in works])
            tables.append(context_table(name, works, measured, fitted))
        profiles.append(profile)
        profile.save(_path(name))
        write_pairs(name, measured, fitted)
    write_context(pd.concat(tables))
    metrics = {profile.name: _metrics(profile) for profile in profiles}
    write_json(REPORTS / "metrics.json", metrics | own_profiles(own, profiles))


def own_profiles(names: Sequence[str], built_in: Sequence[StepProfile]) -> dict[str, Mapping[str, object]]:
    """Write the profile of each set of the deployment's own whose steps tell its engine; return their metrics."""
    metrics: dict[str, Mapping[str, object]] = {}
    for name in names:
        _path(name).unlink(missing_ok=True)  # of recordings that were fewer
        if (engine := own_engine(name, built_in)) is not None:
            profile = named(name, engine)
            profile.save(_path(name))
            metrics[name] = {**_metrics(profile), "nearest": engine.profile.name, "factor": engine.factor}
    return metrics


def _path(name: str) -> Path:
    return paths.PROFILES / f"{name}.json"


def _metrics(profile: StepProfile) -> Mapping[str, float]:
    limits = profile.limits
    return {**profile.residual, "kv_tokens": limits.kv_tokens, "max_model_len": limits.max_model_len}
