"""What the real server on this machine showed: how near the simulator comes to it, and ours against stock vLLM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..results.grid import Grid
from ..results.metrics_file import OURS, ResultsError
from .embedded import figure, read_object

COLUMNS = {
    "ttft_p50_s": "TTFT p50 s",
    "ttft_p90_s": "TTFT p90 s",
    "tpot_p50_s": "TPOT p50 s",
    "throughput": "turns /s",
    "attainment": "share of turns in time",
}
ROWS = {
    "effective_throughput": "turns in time /s",
    "session_effective_throughput": "sessions in time /s",
    "throughput": "turns /s",
    "attainment": "share of turns in time",
    "ttft_p50_s": "TTFT p50 s",
    "ttft_p99_s": "TTFT p99 s",
    "longest_wait_s": "longest wait s",
    "unfinished": "turns not finished",
}


def fidelity(folder: Path) -> dict[str, Any]:
    """Of the page; without the measurement `missing` says how to get it. Raises ResultsError for a damaged one."""
    if not (folder / "metrics.json").exists():
        return {"missing": "Not measured on this machine: `make fidelity` adds it here."}
    results = read_object(folder / "metrics.json", "make fidelity")
    summary = read_object(folder / "summary.json", "make fidelity")
    error = summary.get("median_relative_error_of_all")
    said = "is not finite" if error is None else f"is {error * 100:.1f} %"
    rows = [
        (f"{load}×", policy, *(_pair(cell, name) for name in COLUMNS))
        for load in sorted(results, key=float)
        for policy, cell in results[load].items()
    ]
    return {
        "missing": "",
        "sentence": "The same workload on vLLM's real server (a small model on a processor, loads in multiples of what "
        f"stock vLLM bears there) and in the simulator: the median relative error {said}, the share of turns in time "
        f"differs by {summary['attainment_largest_difference'] * 100:.1f} points at most. Real / simulated:",
        "table": Grid(("load", "policy", *COLUMNS.values()), rows, 2),
        "figures": [figure(folder / "fidelity.svg", "Real (solid) and simulated (dashed) against load")],
    }


def live(folder: Path) -> dict[str, Any] | None:
    """Stock vLLM and ours on the real server; None where it was not measured. Raises ResultsError for a damaged
    report."""
    path = folder / "metrics.json"
    if not path.exists():
        return None
    found = read_object(path, "make live")
    try:
        stock, ours, under = found["vllm"], found[OURS], found["conditions"]
        names = [name for name in ROWS if name in stock and name in ours]
        rows = [(ROWS[name], f"{stock[name]:.3g}", f"{ours[name]:.3g}", _over(ours, stock, name)) for name in names]
        slo = under["slo"]
        sentence = (
            f"Measured by the client on that real server: the same sessions at the same times, for "
            f"{under['duration_s'] / 60:g} minutes at {under['load']:g}× its capacity@90, once with stock vLLM and "
            f"once with AugServe. In time there is a TTFT ≤ {slo['ttft_s']:g} s and a TPOT ≤ {slo['tpot_s']:g} s."
        )
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{path}: incomplete ({error}); run `make live`") from error
    return {"sentence": sentence, "table": Grid(("", "stock vLLM", "AugServe", "ratio"), rows)}


def _pair(cell: Mapping[str, Mapping[str, float]], name: str) -> str:
    return f"{cell[name]['real']:.3g} / {cell[name]['simulated']:.3g}" if name in cell else "–"


def _over(ours: Mapping[str, float], stock: Mapping[str, float], name: str) -> str:
    return f"{ours[name] / stock[name]:.2f}" if stock[name] else "–"
