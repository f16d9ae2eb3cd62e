"""The results of an evaluation as tables of text: pandas frames that become Markdown, CSV, or a part of the page."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...data.atomic import write_text
from ...data.workload.mix import MIX_SWING
from ...data.workload.schedule import SWING
from ..simulator import catalogue
from .columns import COLUMNS, GOODPUT, NONE, SESSION_GOODPUT, value_text
from .metrics_file import OURS, EvaluationResults, Job, Metrics, Tried, ratio

TAIL = ("ttft_p50_s", "ttft_p99_s", "longest_wait_s", SESSION_GOODPUT)
CAPACITY = "capacity@90, sessions/s"
OVER_IT = "AugServe, × it"
_FIGURE = re.compile(r"[+−<≥]? ?\d.*|–|")
_ORDER = [OURS, *catalogue.CATALOGUE]


def order_of(policy: str) -> int:
    """AugServe first, then the order of the catalogue; policies of older releases last."""
    return _ORDER.index(policy) if policy in _ORDER else len(_ORDER)


def title_of(policy: str) -> str:
    """The title of a policy in the catalogue; the name of a policy of an older release."""
    return catalogue.CATALOGUE[policy].title if policy in catalogue.CATALOGUE else policy


def policies(results: EvaluationResults) -> pd.DataFrame:
    """Name, description and source of every policy that ran."""
    ran = {
        policy
        for by_profile in results.cells.values()
        for by_load in by_profile.values()
        for of in by_load.values()
        for policy in of
    }
    entries = [catalogue.CATALOGUE[name] for name in sorted(ran, key=order_of) if name in catalogue.CATALOGUE]
    rows = [(entry.name, entry.description, entry.source) for entry in entries]
    return pd.DataFrame(rows, columns=["policy", "description", "source"])


def job_text(job: Job) -> str:
    """`mixed on llama-3.1-8b-h100`. The profile of a deployment's own engine has the name of its workload."""
    return f"{job[0]} on its own engine" if job[0] == job[1] else " on ".join(job)


def load_text(workload: str, load: float) -> str:
    """`2×`; of a swing its mean and its bounds, `1.65× (0.3–3×)`."""
    if workload != MIX_SWING:
        return f"{load:g}×"
    low, high = SWING.bounds(load)
    return f"{load:g}× ({low:.2g}–{high:.2g}×)"


def cells(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """One row a load and policy, with every metric of COLUMNS."""
    return pd.DataFrame(
        {"policy": policy, "load": load_text(job[0], load)} | _figures(by_policy[policy], COLUMNS)
        for load, by_policy in results.by_load(job).items()
        for policy in sorted(by_policy, key=order_of)
    )


def headline(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """AugServe and its rivals at the main load, without ablations and oracles."""
    by_policy = results.at_main_load(job)
    ours, rows = by_policy.get(OURS, {}), []
    for policy in sorted(by_policy, key=order_of):
        entry = catalogue.CATALOGUE.get(policy)
        if entry is None or not (entry.ablates or entry.oracle):
            row = {"policy": title_of(policy)} | _figures(by_policy[policy], (GOODPUT,))
            row[OVER_IT] = over_it(ours, "over", policy)
            row[CAPACITY] = capacity_text(results, job, policy)
            rows.append(row | _figures(by_policy[policy], TAIL))
    return pd.DataFrame(rows)


def ablations(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """AugServe without each of its parts at the main load, then with perfect predictions; empty where none ran."""
    by_policy = results.at_main_load(job)
    parts = {name: policy.ablates for name, policy in catalogue.CATALOGUE.items() if policy.ablates}
    parts[catalogue.ORACLE.name] = "prediction errors"
    if OURS not in by_policy or not set(parts) & set(by_policy):
        return pd.DataFrame()
    whole = by_policy[OURS][GOODPUT]
    rows = []
    for policy, part in ({OURS: "nothing"} | parts).items():
        if policy in by_policy:
            change = ratio(by_policy[policy][GOODPUT], whole) if policy != OURS else None
            row = {"policy": policy, "AugServe without": part} | _figures(by_policy[policy], (GOODPUT,))
            row["change of goodput"] = NONE if change is None else signed(change - 1)
            row |= _figures(by_policy[policy], (SESSION_GOODPUT,))
            rows.append(row | {CAPACITY: capacity_text(results, job, policy)})
    return pd.DataFrame(rows)


def static_settings(tried: Mapping[str, Tried], score: str) -> pd.DataFrame:
    """For each policy at its best the setting that the search found, its `score` and that of vLLM's default."""
    rows = []
    for policy in sorted(tried, key=order_of):
        scores, best = tried[policy], best_setting(tried[policy])
        default = scores.get(catalogue.CATALOGUE[policy].tunes)
        row = {"policy": policy, "best setting": best, score: f"{scores[best]:.4g}"}
        rows.append(row | {"by default": NONE if default is None else f"{default:.4g}", "tried": f"{len(scores)}"})
    return pd.DataFrame(rows)


def best_setting(tried: Tried) -> str:
    """The name with the best score; of equals the one that was tried first."""
    return max(tried, key=lambda name: tried[name])


def over_it(ours: Metrics, prefix: str, policy: str) -> str:
    """The ratio of AugServe's figure to that of a policy, with its interval."""
    return value_text(ours, f"{prefix}_{policy}", ".2f", (f"{prefix}_{policy}",))


def capacity_text(results: EvaluationResults, job: Job, policy: str) -> str:
    """Three digits; `< 6.19` or `≥ 49.5` where every rate that was tried missed, or none did; `–`: not searched."""
    if job[0] == MIX_SWING:
        return NONE
    reached, missed = (rates.get(job[0], {}).get(job[1], {}) for rates in (results.capacity90, results.misses90))
    rate, miss = reached.get(policy), missed.get(policy)
    if rate is None:
        return NONE if miss is None else f"< {miss:.3g}"
    return f"≥ {rate:.3g}" if policy in missed and miss is None else f"{rate:.3g}"


def signed(share: float) -> str:
    """`+12.5%` or `−12.5%`."""
    return f"{share:+.1%}".replace("-", "−")


def numeric(table: pd.DataFrame) -> list[bool]:
    """Whether each column holds figures, which are aligned to the right."""
    return [bool(table[name].map(lambda cell: _FIGURE.fullmatch(str(cell)) is not None).all()) for name in table]


def markdown(table: pd.DataFrame) -> str:
    align = ["right" if right else "left" for right in numeric(table)]
    return str(table.to_markdown(index=False, disable_numparse=True, colalign=align)) + "\n"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Six digits; the same table gives the same bytes."""
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _figures(cell: Metrics, metrics: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    return {COLUMNS[name][0]: value_text(cell, name, COLUMNS[name][1]) for name in metrics if name in cell}
