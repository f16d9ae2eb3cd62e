"""Figures of an evaluation as SVG, each drawn from the CSV that stands beside it (for `dvc plots` and other tools)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.atomic import write_text
from ..results.figures import INK, svg_figure
from ..results.metrics_file import OURS, Evaluated, Metrics
from ..results.tables import ORDER, PARTS, csv, listed, place, plot_rows
from .distributions import STEPS, TTFT, WAITING, Rows

COLOURS = (
    "#9aa0a6",
    "#5f6368",
    "#b07aa1",
    "#9c755f",
    "#f28e2b",
    "#bab0ac",
    "#59a14f",
    "#8cd17d",
    "#e15759",
    "#ff9d9a",
    "#b6992d",
    "#499894",
)
OUR_COLOUR = "#1a73e8"
CONTRASTED = ("vllm", "uncached-first", "infercept", OURS)
"""Policies of figures that would be unreadable with all."""


def write_figures(folder: Path, found: Evaluated, rows: Mapping[str, Rows]) -> None:
    """CSV and SVG of each of TITLES; `rows` are those of distributions.py by the figure's name."""
    write_text(folder / "goodput.csv", plot_rows(found))
    for name, header in (("ttft", TTFT), ("steps", STEPS), ("waiting", WAITING)):
        write_text(folder / f"{name}.csv", csv(header, rows[name]))
    jobs = [(workload, profile) for workload, profile, _ in found.tables()]
    several = [job for job in jobs if len(found.loads(*job)) > 1] or jobs  # a swing has one: no line to draw
    _panels(folder / "goodput.svg", several, _against_load(found, "effective_throughput", "turns in time /s"))
    _panels(folder / "attainment.svg", several, _against_load(found, "attainment", "share of turns in time"))
    _panels(folder / "ttft.svg", jobs, _cumulative(rows["ttft"]))
    _panels(folder / "waiting.svg", jobs, _by_kind(rows["waiting"]))
    _panels(folder / "steps.svg", jobs, *(_over_time(rows["steps"], column) for column in ("token_budget", "kv_usage")))


Draw = Callable[[Any, tuple[str, str]], None]


def _panels(path: Path, jobs: Sequence[tuple[str, str]], *draws: Draw) -> None:
    """A column a workload and profile, a row a drawing; two columns a row at most."""
    columns = min(len(jobs), 2)
    lines = -(-len(jobs) // columns) * len(draws)
    with svg_figure(path, 4.8 * columns, 3.0 * lines + 0.6, lines, columns) as (figure, axes):
        for number, job in enumerate(jobs):
            for row, draw in enumerate(draws):
                axis = axes[number // columns * len(draws) + row][number % columns]
                axis.set_title(" on ".join(job))
                draw(axis, job)
        for axis in axes.flat:
            if not axis.has_data():
                axis.set_visible(False)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=3 * columns, loc="outside lower center")


def _line(policy: str) -> dict[str, Any]:
    """Ours stands out; oracles, and ablations of ours, share the colour of what they are of."""
    if policy in PARTS:
        style = {OURS: "-", "augserve-oracle": "--"}.get(policy, ":")
        return {"color": OUR_COLOUR, "linestyle": style, "linewidth": 2.4 if policy == OURS else 1.4, "label": policy}
    known = listed(policy)
    colour = INK if known is None else COLOURS[ORDER.index(known) % len(COLOURS)]
    return {"color": colour, "linestyle": "-" if known == policy else "--", "label": policy}


def _against_load(found: Evaluated, metric: str, label: str) -> Draw:
    def draw(axis: Any, job: tuple[str, str]) -> None:
        by_load = found.results[job[0]][job[1]]
        main = by_load[found.main_load(*job)]
        for policy, _ in sorted(main.items(), key=place):
            loads = [load for load in found.loads(*job) if policy in by_load[load]]
            if len(loads) < min(len(by_load), 2):  # an ablation, which ran at one load alone
                continue
            cells: list[Metrics] = [by_load[load][policy] for load in loads]
            at, values = [float(load) for load in loads], [cell[metric] for cell in cells]
            axis.plot(at, values, marker="o", markersize=3, **_line(policy))
            if policy in CONTRASTED and all(f"{metric}_low" in cell for cell in cells):
                low, high = ([cell[f"{metric}_{side}"] for cell in cells] for side in ("low", "high"))
                axis.fill_between(at, low, high, color=_line(policy)["color"], alpha=0.15, linewidth=0)
        axis.set(xlabel="load, × stock vLLM's capacity@90", ylabel=label, ylim=(0, None))

    return draw


def _cumulative(rows: Rows) -> Draw:
    def draw(axis: Any, job: tuple[str, str]) -> None:
        for policy, of_policy in _of(rows, job).items():
            if policy in PARTS and policy not in (OURS, "augserve-oracle"):
                continue
            shares, waits = zip(*of_policy, strict=True)
            axis.plot([max(float(wait), 0.01) for wait in waits], shares, **_line(policy))
        axis.set(xscale="log", xlabel="TTFT, s", ylabel="share of turns", ylim=(0, 1))

    return draw


def _over_time(rows: Rows, column: str) -> Draw:
    place_of = STEPS.index(column) - 3

    def draw(axis: Any, job: tuple[str, str]) -> None:
        for policy, of_policy in _of(rows, job).items():
            if policy in CONTRASTED:
                axis.plot([row[0] for row in of_policy], [row[place_of] for row in of_policy], **_line(policy))
        label = {"token_budget": "token budget of a step", "kv_usage": "share of the KV cache in use"}[column]
        axis.set(xlabel="time, s", ylabel=label, ylim=(0, None))

    return draw


def _by_kind(rows: Rows) -> Draw:
    def draw(axis: Any, job: tuple[str, str]) -> None:
        shown = {policy: of for policy, of in _of(rows, job).items() if policy in CONTRASTED}
        kinds = sorted({str(row[0]) for of in shown.values() for row in of})
        for number, (policy, of_policy) in enumerate(shown.items()):
            waits = {str(row[0]): float(row[WAITING.index("ttft_p90_s") - 3]) for row in of_policy}
            at = [place + (number - (len(shown) - 1) / 2) * 0.8 / len(shown) for place in range(len(kinds))]
            style = _line(policy)
            heights = [max(waits.get(kind, 0.0), 0.01) for kind in kinds]
            axis.bar(at, heights, 0.8 / len(shown), color=style["color"], label=policy)
        axis.set_xticks(range(len(kinds)), kinds, rotation=20, ha="right")
        axis.set(yscale="log", ylabel="TTFT p90, s")

    return draw


def _of(rows: Rows, job: tuple[str, str]) -> dict[str, list[Sequence[Any]]]:
    """The rows of a workload and profile by policy, without these three columns, policies as tables list them."""
    found: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        if (row[0], row[1]) == job:
            found.setdefault(str(row[2]), []).append(row[3:])
    return dict(sorted(found.items(), key=lambda item: place((item[0], {}))))
