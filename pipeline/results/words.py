"""What the headline says in words, each figure from the evaluation's metrics."""

from collections.abc import Iterator

from ...data.workload.mix import MIX_SWING
from ...data.workload.schedule import SWING
from .budgets import P_PAS_BUDGET, STATIC_BUDGET, Tried, budget_text
from .metrics_file import OURS, UNTUNED, Evaluated, Metrics
from .tables import ranged

METRIC = "effective_throughput"
PARTS = {
    STATIC_BUDGET: "the steered token budget",
    "augserve-no-stage-two": "stage II (what is known by now, and the deadline)",
    "augserve-no-stage-one": "stage I (the turn's expected cost)",
    "augserve-no-context": "keeping paused contexts",
    "augserve-no-predictors": "predictions",
}
NOTHING = 0.01
"""A share of turns in time below which a part is said to make no difference."""


def at_load(workload: str, load: str) -> str:
    """Where a figure stands: `at 2×`, or between what bounds a swing goes."""
    if workload != MIX_SWING:
        return f"at {load}×"
    trough, peak = SWING.bounds(float(load))
    return f"swinging between {trough:.2g}× and {peak:.2g}×"


def sentence(found: Evaluated, workload: str, profile: str) -> str:
    """The headline in words; empty where ours or stock vLLM has not run."""
    load = found.main_load(workload, profile)
    cells = found.results[workload][profile][load]
    if OURS not in cells or "vllm" not in cells:
        return ""
    ours = ranged(cells[OURS], "effective_throughput", ".1f")
    text = (
        f"{_begin(workload, load)}, AugServe serves {ours} turns in time a second, stock vLLM "
        f"{cells['vllm']['effective_throughput']:.1f}"
    )
    if "uncached-first" in cells:
        text += f", the best rule without learning {cells['uncached-first']['effective_throughput']:.1f}"
    rates = found.capacity90.get(workload, {}).get(profile, {})
    our_rate, stock_rate = rates.get(OURS), rates.get("vllm")
    if our_rate and stock_rate:
        text += (
            f". It keeps 90 % of turns in time up to {our_rate:.3g} sessions/s, {our_rate / stock_rate:.2f}× stock "
            f"vLLM's {stock_rate:.3g}"
        )
    return text + "."


def worth(found: Evaluated, workload: str, profile: str) -> list[str]:
    """What tuning and each part of ours gain at the main load, a sentence each; of what has not run none."""
    load = found.main_load(workload, profile)
    cells = found.results[workload][profile][load]
    if OURS not in cells or cells[OURS][METRIC] <= 0:
        return []
    where, tried = at_load(workload, load), found.tried(workload, profile)
    return [*_tuning(cells[OURS], cells.get(UNTUNED)), *_parts(cells, where, tried)]


def _tuning(tuned: Metrics, by_hand: Metrics | None) -> Iterator[str]:
    if by_hand is None or by_hand[METRIC] <= 0:
        return
    sessions = "session_effective_throughput"
    yield (
        f"Tuned against set by hand: turns in time {_change(tuned, by_hand, METRIC)} "
        f"({tuned[METRIC]:.1f} / {by_hand[METRIC]:.1f} a second), whole sessions {_change(tuned, by_hand, sessions)} "
        f"({tuned[sessions]:.2f} / {by_hand[sessions]:.2f})."
    )


def _parts(cells: dict[str, Metrics], where: str, tried: Tried) -> Iterator[str]:
    ran = [policy for policy in (*PARTS, P_PAS_BUDGET) if policy in cells]
    if not ran:
        return
    whole = cells[OURS]
    told = [f"{_left_out(policy, tried)} {_change(cells[policy], whole, METRIC)}" for policy in ran]
    yield f"Its parts, left out one at a time {where}: {'; '.join(told)}."
    if "augserve-no-predictors" in cells:
        lost = 1 - cells["augserve-no-predictors"][METRIC] / whole[METRIC]
        if lost > NOTHING:
            yield f"Learning is worth {lost * 100:.1f} % of the turns in time here."
        else:
            gains = [
                PARTS[policy].partition(" (")[0]
                for policy in PARTS
                if policy in cells and cells[policy][METRIC] < (1 - NOTHING) * whole[METRIC]
            ]
            gaining = " and ".join(gains) or "no one part"
            yield f"So on this workload the predictions gain nothing; what gains is {gaining}."
    if "augserve-oracle" in cells:
        change = _change(cells["augserve-oracle"], whole, METRIC)
        yield f"Were every prediction right, it would be {change}."


def _left_out(policy: str, tried: Tried) -> str:
    if policy == P_PAS_BUDGET:
        return "with P-PAS's rule in place of the steered token budget"
    instead = f" ({budget_text(tried)})" if policy == STATIC_BUDGET and tried else ""
    return f"without {PARTS[policy]}{instead}"


def _begin(workload: str, load: str) -> str:
    if workload != MIX_SWING:
        return f"At {load}× the load that stock vLLM bears"
    trough, peak = SWING.bounds(float(load))
    bounds = f"from {trough:.2g}× to {peak:.2g}× what stock vLLM bears"
    return f"Where the load swings {bounds}, and back, each {SWING.period_s:g} s"


def _change(value: Metrics, base: Metrics, metric: str) -> str:
    if base[metric] <= 0:
        return "–"
    return f"{value[metric] / base[metric] - 1:+.1%}".replace("-", "−").replace("%", " %")
