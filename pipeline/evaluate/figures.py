"""Figures of an evaluation as SVG, each with the CSV that it shows, for `dvc plots` and other tools."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..results.figures import INK, svg_figure
from ..results.metrics_file import OURS, EvaluationResults, Job, Metrics
from ..results.tables import job_text, order_of, write_csv
from ..simulator import catalogue

COLOURS = (
    "#5f6368",
    "#b07aa1",
    "#9c755f",
    "#f28e2b",
    "#bab0ac",
    "#59a14f",
    "#e15759",
    "#b6992d",
    "#499894",
    "#76b7b2",
    "#ff9da7",
    "#8cd17d",
    "#d37295",
    "#4e79a7",
    "#a0cbe8",
)
"""Of catalogue.RIVALS and PROGRAM_RIVALS, in their order."""
OUR_COLOUR = "#1a73e8"
ORACLE = catalogue.ORACLE.name
VARIANTS = {ORACLE, *(name for name, policy in catalogue.CATALOGUE.items() if policy.ablates)}
CONTRASTED = tuple(
    policy.name
    for policy in (
        catalogue.VLLM,
        catalogue.tuned(catalogue.UNCACHED_FIRST),
        catalogue.tuned(catalogue.INFERCEPT),
        catalogue.AUGSERVE,
    )
)
"""The policies of figures that would be unreadable with all policies."""
LEAST_S = 0.01
"""Shorter waits are drawn at this one, since their axis is logarithmic."""
PLOTTED = ("effective_throughput", "session_effective_throughput", "throughput", "attainment", "ttft_p99_s")
BOUNDS = ("effective_throughput_low", "effective_throughput_high")
Draw = Callable[[Any, Job], None]


def write_figures(folder: Path, results: EvaluationResults, distributions: Mapping[str, pd.DataFrame]) -> None:
    """Write goodput, attainment, ttft, steps and waiting; `distributions` are those of distributions.py."""
    write_csv(folder / "goodput.csv", goodput_rows(results))
    for name, rows in distributions.items():
        write_csv(folder / f"{name}.csv", rows)
    curves = [job for job in results.jobs if len(results.by_load(job)) > 1] or results.jobs  # a swing has one load
    panels(folder / "goodput.svg", curves, _against_load(results, "effective_throughput", "goodput, turns/s"))
    panels(folder / "attainment.svg", curves, _against_load(results, "attainment", "SLO attainment"))
    panels(folder / "ttft.svg", results.jobs, _ttft(distributions["ttft"]))
    panels(folder / "waiting.svg", results.jobs, _waiting(distributions["waiting"]))
    steps = distributions["steps"]
    draws = (_over_time(steps, "token_budget", "token budget"), _over_time(steps, "kv_usage", "KV cache usage"))
    panels(folder / "steps.svg", results.jobs, *draws)


def goodput_rows(results: EvaluationResults) -> pd.DataFrame:
    """One row a cell: goodput with its interval and further metrics, by workload, profile, policy and load."""
    rows = [
        {"workload": job[0], "profile": job[1], "policy": policy, "load": f"{load:g}"} | by_policy[policy]
        for job in results.jobs
        for load, by_policy in results.by_load(job).items()
        for policy in sorted(by_policy)
    ]
    return pd.DataFrame(rows, columns=["workload", "profile", "policy", "load", *PLOTTED, *BOUNDS])


def panels(path: Path, jobs: Sequence[Job], *draws: Draw) -> None:
    """One column a workload and profile, at most two side by side; one row a drawing."""
    columns = min(len(jobs), 2)
    rows = -(-len(jobs) // columns) * len(draws)
    with svg_figure(path, 4.8 * columns, 3.0 * rows + 0.6, rows, columns) as (figure, axes):
        for number, job in enumerate(jobs):
            for row, draw in enumerate(draws):
                axis = axes[number // columns * len(draws) + row][number % columns]
                axis.set_title(job_text(job))
                draw(axis, job)
        for axis in axes.flat:
            axis.set_visible(axis.has_data())
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=3 * columns, loc="outside lower center")


def line_of(policy: str) -> dict[str, Any]:
    """AugServe stands out; an oracle or ablation has the colour of its policy, as has a policy at its default."""
    if policy == OURS or policy in VARIANTS:
        style = {OURS: "-", ORACLE: "--"}.get(policy, ":")
        return {"color": OUR_COLOUR, "linestyle": style, "linewidth": 2.4 if policy == OURS else 1.4, "label": policy}
    rivals = [rival.name for rival in (*catalogue.RIVALS, *catalogue.PROGRAM_RIVALS)]
    if policy in catalogue.TUNED:
        rival, style = catalogue.TUNED[policy].tunes, "-"
    elif policy.endswith("-oracle"):
        rival, style = policy.removesuffix("-oracle"), "--"
    else:
        rival, style = policy, ":"
    colour = COLOURS[rivals.index(rival)] if rival in rivals else INK
    return {"color": colour, "linestyle": style, "label": policy}


def _against_load(results: EvaluationResults, metric: str, label: str) -> Draw:
    def draw(axis: Any, job: Job) -> None:
        by_load = results.by_load(job)
        for policy in sorted(results.at_main_load(job), key=order_of):
            cells: dict[float, Metrics] = {load: of[policy] for load, of in by_load.items() if policy in of}
            if len(cells) < min(len(by_load), 2):  # an ablation, which ran at one load only
                continue
            axis.plot(
                list(cells), [cell[metric] for cell in cells.values()], marker="o", markersize=3, **line_of(policy)
            )
            if policy in CONTRASTED and all(f"{metric}_low" in cell for cell in cells.values()):
                low, high = ([cell[f"{metric}_{side}"] for cell in cells.values()] for side in ("low", "high"))
                axis.fill_between(list(cells), low, high, color=line_of(policy)["color"], alpha=0.15, linewidth=0)
        axis.set(xlabel="load, × capacity@90 of stock vLLM", ylabel=label, ylim=(0, None))

    return draw


def _ttft(rows: pd.DataFrame) -> Draw:
    def draw(axis: Any, job: Job) -> None:
        for policy, own in _by_policy(rows, job):
            if policy not in VARIANTS - {ORACLE}:
                axis.plot(own["ttft_s"].clip(LEAST_S), own["share"], **line_of(policy))
        axis.set(xscale="log", xlabel="TTFT, s", ylabel="share of turns", ylim=(0, 1))

    return draw


def _over_time(rows: pd.DataFrame, column: str, label: str) -> Draw:
    def draw(axis: Any, job: Job) -> None:
        for policy, own in _by_policy(rows, job):
            if policy in CONTRASTED:
                axis.plot(own["time_s"], own[column], **line_of(policy))
        axis.set(xlabel="time, s", ylabel=label, ylim=(0, None))

    return draw


def _waiting(rows: pd.DataFrame) -> Draw:
    def draw(axis: Any, job: Job) -> None:
        shown = [(policy, own) for policy, own in _by_policy(rows, job) if policy in CONTRASTED]
        kinds = sorted({kind for _, own in shown for kind in own["kind"]})
        width = 0.8 / max(len(shown), 1)
        for number, (policy, own) in enumerate(shown):
            positions = [index + (number - (len(shown) - 1) / 2) * width for index in range(len(kinds))]
            heights = own.set_index("kind")["ttft_p90_s"].reindex(kinds, fill_value=0).clip(LEAST_S)
            axis.bar(positions, heights, width, color=line_of(policy)["color"], label=policy)
        axis.set_xticks(range(len(kinds)), kinds, rotation=20, ha="right")
        axis.set(yscale="log", ylabel="TTFT p90, s")

    return draw


def _by_policy(rows: pd.DataFrame, job: Job) -> list[tuple[str, pd.DataFrame]]:
    """The rows of a workload and profile by policy, in the order of tables."""
    own = rows[(rows["workload"] == job[0]) & (rows["profile"] == job[1])]
    return sorted(((str(policy), group) for policy, group in own.groupby("policy")), key=lambda item: order_of(item[0]))
