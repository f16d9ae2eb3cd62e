"""What single figures cannot say, at the main load: how TTFT is distributed, who waits, what the engine did when."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..results.metrics_file import main_load
from ..simulator.record.evidence import Evidence

Rows = Sequence[Sequence[object]]
JOB = ("workload", "profile", "policy")
TTFT = (*JOB, "share", "ttft_s")
STEPS = (*JOB, "time_s", "token_budget", "kv_usage")
WAITING = (*JOB, "kind", "turns", "ttft_p50_s", "ttft_p90_s", "turns_in_time")
SHARES = np.linspace(0, 1, 51)
MOMENTS = 120

Evidences = Mapping[tuple[str, str, str], Mapping[str, Sequence[Evidence]]]
"""(workload, profile, load) → policy → its runs."""


def distributions(evidences: Evidences) -> dict[str, Rows]:
    """Rows of `ttft`, `steps` and `waiting`, with the columns above; steps are those of the first run."""
    by_job: dict[tuple[str, str], dict[str, Mapping[str, Sequence[Evidence]]]] = {}
    for (workload, profile, load), of_policy in evidences.items():
        by_job.setdefault((workload, profile), {})[load] = of_policy
    found: dict[str, list[Sequence[object]]] = {"ttft": [], "steps": [], "waiting": []}
    for (workload, profile), by_load in sorted(by_job.items()):
        for policy, runs in sorted(by_load[main_load(by_load)].items()):
            job = (workload, profile, policy)
            found["ttft"] += [(*job, *row) for row in _ttft(runs)]
            found["steps"] += [(*job, *row) for row in _steps(runs[0])]
            found["waiting"] += [(*job, *row) for row in _waiting(runs)]
    return dict(found)


def _ttft(runs: Sequence[Evidence]) -> list[tuple[float, float]]:
    waits = np.concatenate([np.array(run.ttft_s) for run in runs])
    return list(zip(SHARES.tolist(), np.quantile(waits, SHARES).tolist(), strict=True))


def _steps(run: Evidence) -> list[tuple[float, float, float]]:
    """MOMENTS rows at most, means of as many bins each."""
    columns = np.array([run.bins_s, run.token_budget, run.kv_usage])
    parts = np.array_split(columns, min(columns.shape[1], MOMENTS), axis=1)
    return [(float(part[0, 0]), float(part[1].mean()), float(part[2].mean())) for part in parts]


def _waiting(runs: Sequence[Evidence]) -> list[tuple[object, ...]]:
    by_kind: dict[str, list[tuple[float, int]]] = {}
    for run in runs:
        for session, wait_s, in_time in zip(run.turn_sessions, run.ttft_s, run.in_time, strict=True):
            by_kind.setdefault(run.kinds[session], []).append((wait_s, in_time))
    rows: list[tuple[object, ...]] = []
    for kind, turns in sorted(by_kind.items()):
        waits, in_time = np.array(turns, np.float64).T
        p50, p90 = np.percentile(waits, (50, 90))
        rows.append((kind, len(turns), float(p50), float(p90), float(in_time.mean())))
    return rows
