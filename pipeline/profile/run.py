"""Stage `profile`: step-time profiles of GPU engines from measured kernels, and of this CPU from gathered steps."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from ...data.atomic import write_json
from ..project import paths
from ..project.params import Section, load_params
from ..simulator.profile import StepProfile
from .cpu import cpu_profile
from .engines import ENGINES
from .kernels import gpu_profile
from .report import REPORTS, context_table, write_context, write_pairs


class ProfileParams(Section):
    SECTION = "profile"
    gpu_memory_utilization: float = Field(ge=0.3, le=1)


def main() -> None:
    params = load_params(ProfileParams)
    metrics, tables = {}, []
    for name in tqdm((*ENGINES, "cpu"), desc="profile", unit="engine"):
        if name == "cpu":
            profile, measured, fitted = cpu_profile(paths.GATHERED_TRACES / "steps.parquet")
        else:
            profile, works, measured = gpu_profile(name, ENGINES[name], params.gpu_memory_utilization)
            fitted = np.array([work.seconds(profile) for work in works])
            tables.append(context_table(name, works, measured, fitted))
        metrics[name] = _metrics(profile)
        profile.save(paths.PROFILES / f"{name}.json")
        write_pairs(name, measured, fitted)
    write_context(pd.concat(tables))
    write_json(REPORTS / "metrics.json", metrics)


def _metrics(profile: StepProfile) -> Mapping[str, float]:
    limits = profile.limits
    return {**profile.residual, "kv_tokens": limits.kv_tokens, "max_model_len": limits.max_model_len}
