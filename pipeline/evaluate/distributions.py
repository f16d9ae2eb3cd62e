"""Distributions at the main load: TTFT over turns, the engine over time, TTFT by kind of session."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..results.metrics_file import Job, open_loop
from ..simulator.record.evidence import Evidence

SHARES = np.linspace(0, 1, 51)
MOMENTS = 120
Evidences = dict[tuple[str, str, str], dict[str, list[Evidence]]]
"""(workload, profile, load) → policy → its runs, one a seed."""


def distributions(evidences: Evidences, main_loads: Mapping[Job, float]) -> dict[str, pd.DataFrame]:
    """`ttft`, `steps` (of the first run) and `waiting`; each has the columns workload, profile and policy first."""
    tables: dict[str, Callable[[Sequence[Evidence]], pd.DataFrame]]
    tables = {"ttft": _ttft, "steps": lambda runs: _steps(runs[0]), "waiting": _waiting}
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in tables}
    for (workload, profile), load in sorted(main_loads.items()):
        for policy, runs in sorted(evidences[workload, profile, open_loop(load)].items()):
            for name, table in tables.items():
                rows = table(runs)
                for position, (column, value) in enumerate(
                    {"workload": workload, "profile": profile, "policy": policy}.items()
                ):
                    rows.insert(position, column, value)
                found[name].append(rows)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}


def _ttft(runs: Sequence[Evidence]) -> pd.DataFrame:
    """Quantiles over the turns of all runs."""
    waits_s = np.concatenate([np.array(run.samples.ttft_s) for run in runs])
    return pd.DataFrame({"share": SHARES, "ttft_s": np.quantile(waits_s, SHARES)})


def _steps(run: Evidence) -> pd.DataFrame:
    """At most MOMENTS rows, each the mean of as many bins."""
    columns = np.array([run.bins_s, run.token_budget, run.kv_usage])
    parts = np.array_split(columns, min(columns.shape[1], MOMENTS), axis=1)
    rows = [(part[0, 0], part[1].mean(), part[2].mean()) for part in parts]
    return pd.DataFrame(rows, columns=["time_s", "token_budget", "kv_usage"])


def _waiting(runs: Sequence[Evidence]) -> pd.DataFrame:
    """One row a kind of session."""
    turns = pd.concat(
        pd.DataFrame(
            {
                "kind": [run.kinds[session] for session in run.turn_sessions],
                "ttft_s": run.ttft_s,
                "met": run.in_time,
            }
        )
        for run in (one.samples for one in runs)
    )
    by_kind = turns.groupby("kind")
    waits = by_kind["ttft_s"]
    table = {"turns": by_kind.size(), "ttft_p50_s": waits.quantile(0.5), "ttft_p90_s": waits.quantile(0.9)}
    return pd.DataFrame({**table, "turns_in_time": by_kind["met"].mean()}).reset_index()
