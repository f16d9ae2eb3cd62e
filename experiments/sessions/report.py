"""The figures of each row, with intervals, and the table that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from augserve.pipeline.results.columns import AGENT_COLUMNS, STEPS, value_text
from augserve.pipeline.results.intervals import cells_of
from augserve.pipeline.results.metrics_file import OURS, Metrics, Tried
from augserve.pipeline.results.tables import OVER_IT, markdown, order_of, over_it, static_settings
from augserve.pipeline.simulator import catalogue
from augserve.pipeline.simulator.record.evidence import Evidence

from .params import VLLM_TUNED

UNBOUNDED = catalogue.VLLM_UNBOUNDED.name
BASES = (VLLM_TUNED, UNBOUNDED)
RATIOS = {
    "steps_over": STEPS,
    "over": "effective_throughput",
    "attainment_over": "attainment",
    "sessions_over": "sessions_per_hour",
    "session_time_over": "session_time_mean_s",
}
"""Prefix of a ratio → its metric."""
STEPS_OVER_TUNED = f"steps_over_{VLLM_TUNED}"
COLUMNS = {
    STEPS: AGENT_COLUMNS[STEPS],
    STEPS_OVER_TUNED: ("× stock at its best", ".2f"),
    f"steps_over_{UNBOUNDED}": ("× unbounded", ".2f"),
    "attainment": AGENT_COLUMNS["attainment"],
    f"attainment_over_{VLLM_TUNED}": ("× stock's share", ".1f"),
    "sessions_per_hour": AGENT_COLUMNS["sessions_per_hour"],
    f"sessions_over_{VLLM_TUNED}": ("× stock's sessions", ".2f"),
    "session_time_mean_s": AGENT_COLUMNS["session_time_mean_s"],
    f"session_time_over_{VLLM_TUNED}": ("× stock's time", ".2f"),
    "prefix_hit_rate": AGENT_COLUMNS["prefix_hit_rate"],
    "longest_wait_s": AGENT_COLUMNS["longest_wait_s"],
    "longest_first_wait_s": ("of first turns", ".0f"),
}
"""Metric → title and format of its column."""
INTERVALS = (STEPS, *(name for name in COLUMNS if "_over_" in name))
CAPTION = (
    "[low–high]: 95 % interval, by a bootstrap over sessions. Ratios are paired: both policies run the same sessions "
    "in one order. A turn that waits too long misses the SLO, first turns included. Session times are those of "
    "sessions that began and ended within the run. The longest are missing, of slow policies most; sessions/h "
    "has no such gap."
)


@dataclass(frozen=True, slots=True)
class SceneResult:
    name: str
    static: Mapping[str, Tried]  # policy at its best static setting → the settings that were tried
    cells: Mapping[int, Mapping[str, Metrics]]  # agents → policy → metrics


def row_cells(runs: Mapping[str, Sequence[Evidence]], seed: int) -> dict[str, Metrics]:
    """The metrics of each policy in a row; a ratio is over the runs that both policies have."""
    counts = sorted({len(own) for own in runs.values()})
    cells: dict[str, Metrics] = {}
    for count in counts:  # a policy with more runs comes again: its own figures, and ratios over more runs, replace
        found = cells_of(
            {policy: own[:count] for policy, own in runs.items() if len(own) >= count}, seed, BASES, RATIOS
        )
        for policy, cell in found.items():
            kept = {name: value for name, value in cells.get(policy, {}).items() if _base(name) not in (None, *found)}
            cells[policy] = kept | cell | {"seeds": float(count)}
    return cells


def _base(name: str) -> str | None:
    """The policy to which a ratio is; None: another metric."""
    _, over, rest = name.partition("over_")
    return rest.removesuffix("_low").removesuffix("_high") if over else None


def sessions_markdown(scenes: Sequence[SceneResult]) -> str:
    parts = [f"{CAPTION}\n"]
    for scene in scenes:
        table = pd.DataFrame(
            {"agents": agents, "policy": policy}
            | {title: value_text(cells[policy], name, form, INTERVALS) for name, (title, form) in COLUMNS.items()}
            | {OVER_IT: over_it(cells.get(OURS, {}), "steps_over", policy), "seeds": f"{cells[policy]['seeds']:.0f}"}
            for agents, cells in scene.cells.items()
            for policy in sorted(cells, key=order_of)
        )
        settings = static_settings(scene.static, "steps/min")
        parts += [f"## {scene.name}\n", markdown(table)]
        parts += ["Best static settings, searched on other sessions:\n", markdown(settings)]
    return "\n".join(parts)
