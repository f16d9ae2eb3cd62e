"""Reports of other stages and of experiments, as the parts of the page that show them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..results.metrics_file import OURS, EvaluationResults, ResultsError
from ..results.tables import (
    NONE,
    ablations,
    capacities,
    cells,
    headline,
    load_text,
    policies_in,
    static_settings,
    title_of,
)
from ..simulator import catalogue
from .embedded import figure, read_object

FIGURES = {
    "goodput": "Goodput against load",
    "attainment": "SLO attainment against load",
    "ttft": "Distribution of the TTFT at the main load",
    "steps": "Token budget and KV cache usage over time at the main load",
    "waiting": "TTFT p90 by kind of session at the main load",
}
PREDICTED = {
    "output_length": "output of a turn, tokens",
    "session_remaining": "turns left in the session, this turn included",
    "session_remaining_tokens": "tokens of the turns left",
    "tool_duration": "duration of a tool call, s",
}
"""Target of a model → its meaning."""
PREDICTOR_METRICS = {
    "kendall_tau": "Kendall's τ",
    "mae": "MAE",
    "mae_baseline": "MAE of the baseline",
    "coverage_80": "coverage of 80 % intervals",
}
FIDELITY_METRICS = {
    "ttft_p50_s": "TTFT p50, s",
    "ttft_p90_s": "TTFT p90, s",
    "tpot_p50_s": "TPOT p50, s",
    "throughput": "throughput, turns/s",
    "attainment": "SLO attainment",
}
LIVE_METRICS = {
    "effective_throughput": "goodput, turns/s",
    "session_effective_throughput": "session goodput, /s",
    "throughput": "throughput, turns/s",
    "attainment": "SLO attainment",
    "ttft_p50_s": "TTFT p50, s",
    "ttft_p99_s": "TTFT p99, s",
    "longest_wait_s": "longest wait, s",
    "unfinished": "unfinished turns",
}


def evaluation(folder: Path, results: EvaluationResults) -> dict[str, Any]:
    """The tables of each workload and profile, and the figures of `folder`."""
    jobs = [
        {
            "title": " on ".join(job),
            "load": load_text(job[0], results.main_load(job)),
            "headline": headline(results, job),
            "ablations": ablations(results, job),
            "cells": cells(results, job),
            "capacities": capacities(results, job),
            "static": static_settings(results, job),
        }
        for job in results.jobs
    ]
    return {"jobs": jobs, "figures": [figure(folder / f"{name}.svg", title) for name, title in FIGURES.items()]}


def policies(results: EvaluationResults) -> pd.DataFrame:
    """Name, meaning and source of every policy that ran."""
    entries = [(name, catalogue.CATALOGUE.get(name)) for name in policies_in(results)]
    rows = [
        (name, entry.description if entry else title_of(name), entry.source if entry else "") for name, entry in entries
    ]
    return pd.DataFrame(rows, columns=["policy", "description", "source"])


def predictors(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """One row a set and target that has a mean absolute error."""
    rows = [
        {"set": source, "predicts": PREDICTED.get(target, target)}
        | {title: f"{found[name]:.3g}" if name in found else NONE for name, title in PREDICTOR_METRICS.items()}
        for source, targets in sorted(metrics.items())
        for target, found in (sorted(targets.items()) if isinstance(targets, Mapping) else ())
        if isinstance(found, Mapping) and "mae" in found
    ]
    return pd.DataFrame(rows)


def fidelity(folder: Path) -> dict[str, Any] | None:
    """The simulator against the real server; None where it was not measured."""
    if not (folder / "metrics.json").exists():
        return None
    results = read_object(folder / "metrics.json", "make fidelity")
    summary = read_object(folder / "summary.json", "make fidelity")
    error = summary.get("median_relative_error_of_all")
    difference = summary["attainment_largest_difference"]
    rows = [
        {"load": f"{load}×", "policy": policy} | {title: _pair(cell, name) for name, title in FIDELITY_METRICS.items()}
        for load in sorted(results, key=float)
        for policy, cell in results[load].items()
    ]
    summary_rows = {
        "median relative error": [NONE if error is None else f"{error:.1%}"],
        "largest difference of SLO attainment": [f"{difference * 100:.1f} points"],
    }
    return {
        "summary": pd.DataFrame(summary_rows),
        "table": pd.DataFrame(rows),
        "figures": [figure(folder / "fidelity.svg", "Real (solid) and simulated (dashed) against load")],
    }


def live(folder: Path) -> dict[str, Any] | None:
    """AugServe and stock vLLM on the real server; None where they were not measured."""
    path = folder / "metrics.json"
    if not path.exists():
        return None
    found = read_object(path, "make live")
    try:
        stock, ours, conditions = found[catalogue.VLLM.name], found[OURS], found["conditions"]
        rows = [
            (
                title,
                f"{stock[name]:.3g}",
                f"{ours[name]:.3g}",
                f"{ours[name] / stock[name]:.2f}" if stock[name] else NONE,
            )
            for name, title in LIVE_METRICS.items()
            if name in stock and name in ours
        ]
        under = {
            "load": [f"{conditions['load']:g}×"],
            "duration, min": [f"{conditions['duration_s'] / 60:g}"],
            "TTFT limit, s": [f"{conditions['slo']['ttft_s']:g}"],
            "TPOT limit, s": [f"{conditions['slo']['tpot_s']:g}"],
        }
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{path}: incomplete ({error}); run `make live`") from error
    return {
        "conditions": pd.DataFrame(under),
        "table": pd.DataFrame(rows, columns=["metric", "stock vLLM", "AugServe", "ratio"]),
    }


def _pair(cell: Mapping[str, Mapping[str, float]], name: str) -> str:
    return f"{cell[name]['real']:.3g} / {cell[name]['simulated']:.3g}" if name in cell else NONE
