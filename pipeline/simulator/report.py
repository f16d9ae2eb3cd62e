"""What an evaluation found, as a table, a summary and a plot."""

from typing import Any

from .policies import POLICIES

Metrics = dict[str, float]
Results = dict[str, dict[str, dict[str, dict[str, Metrics]]]]
"""workload → profile → load → policy → metric"""
Capacities = dict[str, dict[str, dict[str, float | None]]]
"""workload → profile → policy → sessions/s; None where it lies below the rates searched. Stock vLLM's is load 1x."""

COLUMNS = {
    "turns in time /s": ("effective_throughput", "{:.1f}"),
    "sessions in time /s": ("session_effective_throughput", "{:.2f}"),
    "turns /s": ("throughput", "{:.1f}"),
    "turns in time": ("attainment", "{:.1%}"),
    "TTFT p50 s": ("ttft_p50_s", "{:.2f}"),
    "TTFT p99 s": ("ttft_p99_s", "{:.2f}"),
    "longest wait s": ("longest_wait_s", "{:.1f}"),
    "preemptions": ("preemptions", "{:.0f}"),
    "prefix hits": ("prefix_hit_rate", "{:.1%}"),
}


def summarize(results: Results) -> dict[str, Any]:
    """Headline figures at the highest load: turns in time per second, ours against each policy; None: it has none."""
    summary: dict[str, Any] = {}
    for workload, by_profile in results.items():
        for profile, by_load in by_profile.items():
            load = max(by_load, key=float)
            cells = by_load[load]
            if "augserve" not in cells:
                continue
            ours = cells["augserve"]["effective_throughput"]
            ratios = {
                f"over_{policy}": ours / cell["effective_throughput"] if cell["effective_throughput"] > 0 else None
                for policy, cell in cells.items()
                if policy != "augserve"
            }
            summary.setdefault(workload, {})[profile] = {"load": float(load), "effective_throughput": ours, **ratios}
    return summary


def table(results: Results, capacity90: Capacities) -> str:
    """The results as Markdown, a table a workload and profile."""
    parts = []
    for workload, by_profile in results.items():
        for profile, by_load in by_profile.items():
            found = ", ".join(map(_capacity_text, capacity90[workload][profile].items()))
            lines = [
                f"{workload} on {profile}. Load 1x is stock vLLM's capacity@90. Capacity@90, sessions/s: {found}.",
                "",
                "| load | policy | " + " | ".join(COLUMNS) + " |",
                "|---|---|" + "---:|" * len(COLUMNS),
            ]
            for load in sorted(by_load, key=float):
                for policy, cell in sorted(by_load[load].items(), key=_place):
                    values = " | ".join(form.format(cell[metric]) for metric, form in COLUMNS.values())
                    lines.append(f"| {load}x | {policy} | {values} |")
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def plot_rows(results: Results) -> str:
    """CSV of the goodput, for `dvc plots`: load against turns in time, one line a policy."""
    rows = ["workload,profile,policy,load,effective_throughput,attainment,ttft_p99_s"]
    for workload, by_profile in results.items():
        for profile, by_load in by_profile.items():
            for load in sorted(by_load, key=float):
                for policy, cell in sorted(by_load[load].items()):
                    figures = [cell["effective_throughput"], cell["attainment"], cell["ttft_p99_s"]]
                    rows.append(",".join([workload, profile, policy, load, *(f"{figure:.6g}" for figure in figures)]))
    return "\n".join(rows) + "\n"


def _place(item: tuple[str, Metrics]) -> tuple[int, str]:
    """Stock vLLM and its configurations first, then as the policies are listed."""
    policy = item[0]
    return (list(POLICIES).index(policy) if policy in POLICIES else 0, policy)


def _capacity_text(item: tuple[str, float | None]) -> str:
    policy, rate = item
    return f"{policy} {'below the rates searched' if rate is None else format(rate, '.3g')}"
