"""Writes the tables of the workload `coding-agents` and compares its draws with the recorded sessions."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from augserve.data.atomic import write_text
from augserve.data.workload.coding_agents.effects import EFFECTS
from augserve.data.workload.coding_agents.figures import PERCENTS
from augserve.data.workload.coding_agents.sessions import SUB_AGENT, coding_sessions
from augserve.data.workload.coding_agents.tables import EFFECTS_FILE, FIGURES_FILE
from augserve.pipeline.project import paths
from augserve.pipeline.project.params import SplitShares, load_params

from .aggregate import effect_rows, figure_rows
from .comparison import Comparison, compare, markdown, shares_between
from .records import Recorded, read_records, sub_agents

REPORTS = paths.REPORTS / "coding_agents"
DRAWN, SEED = 10_000, 1
SOURCES = """\
# swe-agent: claude-code-swe = eunomia-bpf/agentcgroup @ 5af9e7b8f37a93513206c331c7ec0ff149e89f27,
# experiments/all_images_{haiku,local} (GPL-2.0). pair-programmer: kv-cache-sessions = callanjfox/kv-cache-tester
# @ 94f6046dfd9c0c8bc0cdb24a5aa6579bac8669bf, traces, every 6th file (Apache-2.0). sub-agent: those of both.
# Made by `python -m experiments.coding` from the training part, sessions of 3 turns or more cut to 131,072 tokens.
"""
FIGURES = """\
# Figures of recorded coding agents: counts and quantiles. No record of either source is kept here.
"""
EFFECTS_NOTE = """\
# What turns of one session have in common. between: share of the variance, in normal scores, between sessions. The
# other columns: correlations of the sessions' deviates.
"""


def main() -> None:
    records = read_records(paths.PUBLIC_TRACES, load_params(SplitShares))
    train = {kind: parts["train"] for kind, parts in records.items()}
    write_tables(train, FIGURES_FILE, EFFECTS_FILE)
    drawn = coding_sessions(DRAWN, SEED)
    comparisons = {}
    for kind, parts in records.items():
        held_out = [recorded.session for part in ("validation", "test") for recorded in parts[part]]
        own = [session for session in drawn if session.kind == kind]
        samples = {"train": [recorded.session for recorded in train[kind]], "held out": held_out, "drawn": own}
        comparisons[kind] = (compare(samples), shares_between(samples))
    write_reports(comparisons)
    print((REPORTS / "table.md").read_text(encoding="utf-8"))


def write_tables(train: dict[str, list[Recorded]], figures: Path, effects: Path) -> None:
    """The two tables of the workload, from the sessions of each kind and their sub-agents."""
    kinds = {**train, SUB_AGENT: [agent for records in train.values() for agent in sub_agents(records)]}
    figure_lines = [
        (kind, figure, stage, tool, count, *map(_number, quantiles))
        for kind, records in kinds.items()
        for figure, stage, tool, count, quantiles in figure_rows(records, stages=kind != SUB_AGENT)
    ]
    effect_lines = [
        (kind, effect, _number(share), *map(_number, correlations))
        for kind, records in kinds.items()
        for effect, share, correlations in effect_rows(records)
    ]
    header = ("kind", "figure", "stage", "tool", "count", *(f"p{percent}" for percent in PERCENTS))
    write_text(figures, FIGURES + SOURCES + _csv(header, figure_lines))
    write_text(effects, EFFECTS_NOTE + SOURCES + _csv(("kind", "effect", "between", *EFFECTS), effect_lines))


def write_reports(comparisons: Mapping[str, tuple[Sequence[Comparison], Mapping[str, float]]]) -> None:
    lines = [
        (kind, row.marginal, sample, row.counts[sample], *map(_number, quantiles))
        for kind, (rows, _) in comparisons.items()
        for row in rows
        for sample, quantiles in row.quantiles.items()
    ]
    header = ("kind", "marginal", "sample", "count", *(f"p{percent}" for percent in PERCENTS))
    write_text(REPORTS / "marginals.csv", _csv(header, lines))
    write_text(REPORTS / "table.md", "\n".join(markdown(kind, *found) for kind, found in comparisons.items()))


def _number(value: float) -> str:
    """Four digits, and whole numbers in full."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _csv(header: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
