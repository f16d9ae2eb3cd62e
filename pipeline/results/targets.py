"""What was set as a target, what was reached, and of what was missed how far and what holds it back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...data.workload.mix import MIX_SWING
from .budgets import P_PAS_BUDGET, STATIC_BUDGET
from .grid import Grid
from .metrics_file import OURS, UNTUNED, Evaluated, Metrics, main_load
from .words import NOTHING, PARTS

TURNS, SESSIONS = "effective_throughput", "session_effective_throughput"
ORACLE = "augserve-oracle"
CAPACITY = "capacity90"
STEADY_MAIN = 2.0
"""The load that most targets speak of; a swing is held against them at its own."""
ByLoad = Mapping[str, Mapping[str, Metrics]]


@dataclass(frozen=True, slots=True)
class Target:
    """`least` is asked of ours over the base's metric, at each of the loads (none named: at all that both ran at); of a
    metric that is to fall, of the share by which it is less than the base's."""

    name: str  # in metrics.json
    what: str
    least: float
    metric: str
    base: str
    loads: tuple[float, ...] = ()
    falls: bool = False

    def value(self, policy: Metrics, base: Metrics) -> float | None:
        """None where the base has nothing to relate to."""
        if base[self.metric] <= 0:
            return None
        over = policy[self.metric] / base[self.metric]
        return 1 - over if self.falls else over


AT_MAIN = (STEADY_MAIN,)
TARGETS = (
    Target("turns_over_vllm_2x", "turns in time, × stock vLLM", 6.5, TURNS, "vllm", AT_MAIN),
    Target("turns_over_vllm_3x", "turns in time, × stock vLLM", 15.0, TURNS, "vllm", (3.0,)),
    Target("turns_over_infercept_2x", "turns in time, × InferCept", 4.7, TURNS, "infercept", AT_MAIN),
    Target("turns_over_tuned_2x", "turns in time, × best static setting", 4.0, TURNS, "vllm-tuned", AT_MAIN),
    Target("turns_over_uncached_first_2x", "turns in time, × uncached-first", 1.1, TURNS, "uncached-first", AT_MAIN),
    Target("sessions_over_uncached_first_2x", "sessions, × uncached-first", 1.35, SESSIONS, "uncached-first", AT_MAIN),
    Target("sessions_over_vllm_2x", "sessions in time, × stock vLLM", 4.5, SESSIONS, "vllm", AT_MAIN),
    Target(CAPACITY, "capacity@90, × stock vLLM", 1.5, CAPACITY, "vllm"),
    Target("ttft_p50_2x_3x", "TTFT p50, less than stock vLLM's by", 0.98, "ttft_p50_s", "vllm", (2.0, 3.0), True),
    Target("ttft_mean_1.4x", "TTFT mean, less than stock vLLM's by", 0.96, "ttft_mean_s", "vllm", (1.4,), True),
    Target("turns_never_below_vllm", "turns in time at every load, × stock vLLM", 0.99, TURNS, "vllm"),
    Target("throughput_never_below_vllm", "turns /s at every load, × stock vLLM", 0.98, "throughput", "vllm"),
    Target("turns_over_oracle_2x", "turns in time, × an oracle of ours", 0.95, TURNS, ORACLE, AT_MAIN),
    Target("tuned_over_default_2x", "turns in time, × settings by hand", 1.1, TURNS, UNTUNED, AT_MAIN),
    Target("tuned_never_below_default", "turns in time at every load, × settings by hand", 0.99, TURNS, UNTUNED),
)
OF_A_SWING = (
    Target("budget_over_static", "turns in time, × ours with the best static budget", 1.0, TURNS, STATIC_BUDGET),
    Target("budget_over_p_pas", "turns in time, × ours with P-PAS's rule", 1.0, TURNS, P_PAS_BUDGET),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target on one workload. Without a value it was not measured (`held` None), or the base serves nothing."""

    target: Target
    where: str
    reached: float | None
    held: bool | None
    why: str = ""  # what holds it back


def outcomes(found: Evaluated, workload: str, profile: str) -> list[Outcome]:
    """Of all targets on a workload; none where ours has not run."""
    by_load = found.results[workload][profile]
    if not any(OURS in cells for cells in by_load.values()):
        return []
    swings = workload == MIX_SWING
    wanted = [*TARGETS, *OF_A_SWING] if swings else list(TARGETS)
    known: list[Outcome] = []
    for target in wanted:
        if target.name == CAPACITY:
            if not swings:
                known.append(_of_capacity(target, found.capacity90[workload][profile]))
        elif not swings or not target.loads or STEADY_MAIN in target.loads:
            known.append(_at_loads(target, by_load, () if swings else target.loads))
    return known


def target_grid(known: Sequence[Outcome]) -> Grid:
    """A row a target: held, missed and by how much, or not measured."""
    rows = [
        (one.target.what, one.where, _form(one.target, one.target.least), _reached(one), _verdict(one), one.why or "")
        for one in known
    ]
    return Grid(("target", "at load", "asked", "reached", "outcome", "what holds it back"), rows, 2, notes=2)


def target_summary(found: Evaluated) -> dict[str, dict[str, dict[str, Any]]]:
    """For metrics.json: by workload, profile and target what was asked and reached, and 1 where it was held."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for workload, profile, _ in found.tables():
        measured = [one for one in outcomes(found, workload, profile) if one.held is not None]
        summary.setdefault(workload, {})[profile] = {
            one.target.name: {"asked": one.target.least, "reached": one.reached, "held": int(bool(one.held))}
            for one in measured
        }
    return summary


def target_tables(found: Evaluated) -> str:
    """All targets as Markdown, a table a workload and profile."""
    lines: list[str] = []
    for workload, profile, _ in found.tables():
        if known := outcomes(found, workload, profile):
            lines += ["", f"Targets on {workload}, {profile}:", "", *target_grid(known).markdown()]
    return "\n".join([*lines, ""]) if lines else ""


def _at_loads(target: Target, by_load: ByLoad, loads: tuple[float, ...]) -> Outcome:
    """At the load, of those that it is asked at, where ours comes off worst."""
    both = {load for load, cells in by_load.items() if OURS in cells and target.base in cells}
    asked = sorted(both if not loads else {load for load in both if float(load) in loads}, key=float)
    if not asked or (loads and len(asked) < len(loads)):
        return Outcome(target, ", ".join(f"{load:g}×" for load in loads), None, None)
    where = ", ".join(f"{load}×" for load in asked)
    values = {load: target.value(by_load[load][OURS], by_load[load][target.base]) for load in asked}
    finite = {load: value for load, value in values.items() if value is not None}
    if not finite:  # the base serves nothing anywhere
        return Outcome(target, where, None, all(by_load[load][OURS][target.metric] > 0 for load in asked))
    worst = min(finite, key=lambda load: finite[load])
    held = finite[worst] >= target.least
    if len(asked) > 1:
        where = f"{asked[0]}–{asked[-1]}×, least at {worst}×"
    cells = by_load[worst]
    if held or worst != main_load(by_load):
        return Outcome(target, where, finite[worst], held)
    of = {policy: target.value(cell, cells[target.base]) for policy, cell in cells.items()}
    return Outcome(target, where, finite[worst], held, _why(target, of))


def _of_capacity(target: Target, rates: Mapping[str, float | None]) -> Outcome:
    stock = rates.get("vllm")
    ours = rates.get(OURS)
    if not stock or OURS not in rates:
        return Outcome(target, "", None, None)
    if ours is None:
        return Outcome(target, "", 0.0, False)
    of = {policy: None if rate is None else rate / stock for policy, rate in rates.items()}
    held = ours / stock >= target.least
    return Outcome(target, "", ours / stock, held, "" if held else _why(target, of))


def _why(target: Target, of: Mapping[str, float | None]) -> str:
    """What a missed target would be without each part of ours, and with perfect predictions."""
    ours = of[OURS] or 0.0
    left_out = {policy: part for policy, part in PARTS.items() if policy != target.base}
    without = {part: value for policy, part in left_out.items() if (value := of.get(policy)) is not None}
    told = list(_parts(without, ours, lambda value: _form(target, value)))
    oracle = of.get(ORACLE)
    if oracle is not None and target.base != ORACLE:
        enough = "" if oracle >= target.least else ", which is not enough either"
        told.append(f"knowing what comes: {_form(target, oracle)}{enough}")
    return "; ".join(told)


def _parts(without: Mapping[str, float], ours: float, form: Callable[[float], str]) -> Iterator[str]:
    short = {part.partition(" (")[0]: value for part, value in without.items()}
    costs = {part: value for part, value in short.items() if value > (1 + NOTHING) * ours}
    idle = [part for part, value in short.items() if abs(value - ours) <= NOTHING * ours]
    if costs:
        worst = max(costs, key=lambda part: costs[part])
        yield f"{worst}: without it {form(costs[worst])}"
    if idle:
        yield f"nothing gained by {' and '.join(idle)}"


def _form(target: Target, value: float) -> str:
    return f"{value:.1%}".replace("%", " %").replace("-", "−") if target.falls else f"{value:.3g}×"


def _reached(one: Outcome) -> str:
    if one.held is None:
        return "not measured"
    if one.reached is None:
        return "the other serves none" if one.held else "nor does ours"
    return _form(one.target, one.reached)


def _verdict(one: Outcome) -> str:
    if one.held is None:
        return ""
    if one.held:
        return "held"
    if one.reached is None:
        return "missed"
    if one.target.falls:
        return f"missed by {(one.target.least - one.reached) * 100:.1f} points"
    return f"missed by {(1 - one.reached / one.target.least) * 100:.1f} %"
