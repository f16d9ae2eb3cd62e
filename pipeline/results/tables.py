"""The results as Markdown tables, and as rows for `dvc plots`."""

from collections.abc import Mapping, Sequence

from ...data.workload.mix import MIX_SWING
from .budgets import P_PAS_BUDGET, STATIC_BUDGET, budget_text
from .grid import Grid
from .metrics_file import OURS, Evaluated, Metrics, main_load

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
RIVALS = (
    "vllm",
    "vllm-tuned",
    "sjf-prompt",
    "sjf",
    "uncached-first",
    "p-pas",
    "infercept",
    "mars",
    "continuum",
    "continuum-forecast",
)
"""In the order in which tables list them; ours follow. Without the simulator's own list, tables need no vLLM."""
PLOTTED = ("effective_throughput", "session_effective_throughput", "throughput", "attainment", "ttft_p99_s")
PARTS = {
    OURS: "nothing: all of it, tuned",
    "augserve-no-stage-one": "expected cost of the turn (stage I)",
    "augserve-no-stage-two": "what is known by now, and the deadline (stage II)",
    STATIC_BUDGET: "steering of the token budget",
    P_PAS_BUDGET: "steering of the token budget: P-PAS's rule instead",
    "augserve-no-context": "keeping of paused contexts",
    "augserve-no-predictors": "predictions",
    "augserve-default": "tuning: the settings as set by hand",
    "augserve-oracle": "errors of prediction: it knows what comes",
}
"""What each variant of ours does without."""
ORDER = (*RIVALS, *PARTS)


def table(found: Evaluated) -> str:
    """All cells, a table a workload and profile, then the ablations, as Markdown."""
    parts = []
    for workload, profile, by_load in found.tables():
        lines = [f"{workload} on {profile}. {units(found, workload, profile)}", "", *cells(by_load).markdown()]
        if (parts_of_ours := ablations(found, workload, profile)) is not None:
            worth = f"What each part is worth, at {main_load(by_load)}x:"
            lines += ["", worth, "", *parts_of_ours.markdown()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def units(found: Evaluated, workload: str, profile: str) -> str:
    """What a load of 1 is, which capacities were found, and what the best static setting is, in words."""
    rates = found.capacity90[workload][profile]
    if workload == MIX_SWING:
        unit = capacity_text(found, workload, profile, "vllm")
        text = (
            f"Loads are means of a swing; 1x is {unit} sessions/s, stock vLLM's capacity@90 where arrivals are steady."
        )
    else:
        known = ", ".join(f"{policy} {capacity_text(found, workload, profile, policy)}" for policy in rates)
        text = f"Load 1x is stock vLLM's capacity@90. Capacity@90, sessions/s: {known}."
    if (static := found.static.get(workload, {}).get(profile)) is not None:
        text += f" vllm-tuned is {static} (budget x sequences), the best static setting for other sessions."
    if tried := found.tried(workload, profile):
        text += f" {STATIC_BUDGET} has {budget_text(tried)}."
    return text


def cells(by_load: Mapping[str, Mapping[str, Metrics]]) -> Grid:
    """Every load and policy, a row each."""
    rows = [
        (policy, f"{load}×", *_values(cell))
        for load in sorted(by_load, key=float)
        for policy, cell in sorted(by_load[load].items(), key=place)
    ]
    ours = frozenset(number for number, row in enumerate(rows) if row[0] == OURS)
    return Grid(("policy", "load", *COLUMNS), rows, 2, ours)


def ablations(found: Evaluated, workload: str, profile: str) -> Grid | None:
    """What each part is worth at the main load; None where no ablation has run."""
    by_load = found.results[workload][profile]
    of_policy = by_load[main_load(by_load)]
    if OURS not in of_policy or not (set(PARTS) - {OURS, "augserve-oracle"}) & set(of_policy):
        return None
    whole = of_policy[OURS]["effective_throughput"]
    rows = []
    for policy, without in PARTS.items():
        if policy in of_policy:
            cell = of_policy[policy]
            change = f"{cell['effective_throughput'] / whole - 1:+.1%}" if whole > 0 and policy != OURS else ""
            sessions = f"{cell['session_effective_throughput']:.2f}"
            if policy == STATIC_BUDGET and (tried := found.tried(workload, profile)):
                without += f": {budget_text(tried)}"
            rows.append((policy, without, ranged(cell, "effective_throughput", ".1f"), change, sessions))
    header = ("variant", "does without", "turns in time /s [95 %]", "to the whole", "sessions in time /s")
    return Grid(header, rows, 2, frozenset({0}))


def ranged(cell: Metrics, metric: str, form: str) -> str:
    """A value with its interval, where it has one."""
    text = format(cell[metric], form)
    if f"{metric}_low" not in cell:
        return text
    return f"{text} [{format(cell[f'{metric}_low'], form)}–{format(cell[f'{metric}_high'], form)}]"


def plot_rows(found: Evaluated) -> str:
    """CSV, a row a cell: goodput and attainment against load, with the interval of the former."""
    metrics = (*PLOTTED, "effective_throughput_low", "effective_throughput_high")
    rows = [",".join(("workload", "profile", "policy", "load", *metrics))]
    for workload, profile, by_load in found.tables():
        for load in sorted(by_load, key=float):
            for policy, cell in sorted(by_load[load].items()):
                figures = [format(cell[metric], ".6g") if metric in cell else "" for metric in metrics]
                rows.append(",".join([workload, profile, policy, load, *figures]))
    return "\n".join(rows) + "\n"


def csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "".join(
        ",".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row) + "\n"
        for row in (header, *rows)
    )


def place(item: tuple[str, Metrics]) -> tuple[int, str]:
    """Sorts policies as ORDER lists them, a rival that knows what comes after the one that predicts, others last."""
    policy = item[0]
    known = listed(policy)
    return (len(ORDER) if known is None else ORDER.index(known), policy)


def listed(policy: str) -> str | None:
    """The policy in ORDER that one is, or is the oracle of."""
    return next((name for name in (policy, policy.removesuffix("-oracle")) if name in ORDER), None)


def capacity_text(found: Evaluated, workload: str, profile: str, policy: str) -> str:
    """Three digits; a bound, `< 6.19` or `≥ 49.5`, where every rate tried missed or none did; `–`: not searched, or
    below what an older release searched."""
    reached, missed = (of.get(workload, {}).get(profile, {}) for of in (found.capacity90, found.misses90))
    rate, miss = reached.get(policy), missed.get(policy)
    if rate is None:
        return "–" if miss is None else f"< {miss:.3g}"
    return f"≥ {rate:.3g}" if policy in missed and miss is None else f"{rate:.3g}"


def _values(cell: Metrics) -> list[str]:
    return [
        ranged(cell, metric, ".1f") if metric == "effective_throughput" else form.format(cell[metric])
        for metric, form in COLUMNS.values()
    ]
