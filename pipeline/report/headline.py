"""The headline: ours beside its rivals at the highest load, in a table and in words, with what their papers claim."""

from ...data.workload.mix import MIX_SWING
from ..results.grid import Grid
from ..results.metrics_file import OURS, UNTUNED, Evaluated, Metrics
from ..results.tables import capacity_text, ranged
from ..results.targets import outcomes, target_grid
from ..results.tuning import Selection, longest_waits, over_tuning
from ..results.words import at_load, sentence, worth
from .papers import CLAIMS, DIFFERENCES

NAMES = {
    OURS: "**AugServe**",
    UNTUNED: "AugServe, set by hand",
    "vllm": "stock vLLM",
    "vllm-tuned": "stock vLLM, best static setting",
    "uncached-first": "uncached-first, the best rule without learning",
    "infercept": "InferCept",
    "mars": "MARS/LAMPS",
    "continuum": "Continuum",
    "augserve-oracle": "AugServe, knowing what comes",
}


def headline(found: Evaluated, workload: str, profile: str) -> Grid:
    """A row for each of NAMES that ran at the main load."""
    load = found.main_load(workload, profile)
    cells = found.results[workload][profile][load]
    rows: list[tuple[str, ...]] = []
    ours = set()
    for policy, name in NAMES.items():
        if policy in cells:
            if policy == OURS:
                ours.add(len(rows))
            cell = cells[policy]
            # A swing has no capacity of its own: its loads are multiples of the steady mix's.
            searched = workload != MIX_SWING
            capacity = capacity_text(found, workload, profile, policy) if searched else "–"
            rows.append((name, *_figures(cell, policy), capacity, *_waits(cell)))
    header = (
        at_load(workload, load),
        "turns in time /s [95 %]",
        "× stock vLLM",
        "× uncached-first",
        "sessions in time /s",
    )
    more = ("capacity@90, sessions/s", "TTFT p50 s", "TTFT p99 s", "longest wait s")
    return Grid((*header, *more), rows, 1, frozenset(ours))


def where(found: Evaluated, workload: str, profile: str) -> str:
    """On which workload, engine and load a headline's figures stand."""
    load = at_load(workload, found.main_load(workload, profile))
    return f"{workload} on {profile}, {load}, 1× being stock vLLM's capacity@90"


def headline_markdown(found: Evaluated, selection: Selection) -> str:
    """Sentences and tables of each workload and profile, then what the papers claim, and what differs from them."""
    lines: list[str] = []
    for workload, profile, _ in found.tables():
        at = where(found, workload, profile)
        lines += [
            sentence(found, workload, profile),
            "",
            f"{at}; [–]: 95 %, bootstrap over sessions. Waits are cut off by the end of a run.",
            "",
            *headline(found, workload, profile).markdown(),
            "",
            *(f"- {text}" for text in worth(found, workload, profile)),
            "",
        ]
    lines += [f"- {text}" for text in (over_tuning(found, selection), longest_waits(found, selection)) if text]
    lines.append("")
    for workload, profile, _ in found.tables():
        lines += _targets(found, workload, profile)
    lines += ["What the papers claim, on their own hardware, engines and workloads:", ""]
    lines += [f"- {name}: {text}" for name, text in CLAIMS.items()]
    lines += ["", "What differs from them here:", ""]
    lines += [f"- {name}: {text}" for name, text in DIFFERENCES.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _targets(found: Evaluated, workload: str, profile: str) -> list[str]:
    known = outcomes(found, workload, profile)
    if not known:
        return []
    held = sum(one.held is True for one in known)
    measured = sum(one.held is not None for one in known)
    missed = [one for one in known if one.held is False]
    text = f"Of {measured} targets on {workload} that were measured, {held} are held"
    if not missed:
        return [f"{text}.", ""]
    return [f"{text}; of those missed:", "", *target_grid(missed).markdown(), ""]


def _figures(cell: Metrics, policy: str) -> tuple[str, ...]:
    in_time = ranged(cell, "effective_throughput", ".1f")
    return in_time, _over(cell, "vllm", policy), _over(cell, "uncached-first", policy), _sessions(cell)


def _over(cell: Metrics, base: str, policy: str) -> str:
    """`–`: the base serves nothing in time, or did not run."""
    if policy == base:
        return "1"
    return ranged(cell, f"over_{base}", ".2f") if f"over_{base}" in cell else "–"


def _sessions(cell: Metrics) -> str:
    return format(cell["session_effective_throughput"], ".2f")


def _waits(cell: Metrics) -> tuple[str, ...]:
    forms = {"ttft_p50_s": ".2f", "ttft_p99_s": ".1f", "longest_wait_s": ".1f"}
    return tuple(format(cell[metric], form) for metric, form in forms.items())
