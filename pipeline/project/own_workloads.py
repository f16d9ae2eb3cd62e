"""The deployment's own recordings as workloads: a closed loop of as many agents as worked at once, on the recorded
engine where its steps tell it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...data.tables.files import read_table, table_files
from . import paths
from .public_sets import load_public_sets
from .trace_sources import DataParams

LEAST_AGENTS = 2
LEAST_SESSIONS = 12
"""With fewer, a split of them has too few sessions to decide anything."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnWorkload:
    name: str  # folder of data/traces
    agents: int  # mean number of sessions at once, sub-agents not counted
    profile: str | None = None  # of the engine that was recorded; None: not known


def own_workloads(params: DataParams, root: Path = Path()) -> list[OwnWorkload]:
    """The sets of `data.sources` that `make retrain` has added, in their order. A set of few sessions is left out with
    one line of the log. Raises TraceError for an unreadable file."""
    made = {paths.GATHERED_TRACES.name, *load_public_sets(root)}
    found = []
    for name in params.sources:
        folder = root / paths.TRACES / name
        if name in made or not table_files(folder, "turns"):
            continue
        sessions, agents = _concurrency(folder)
        if sessions < LEAST_SESSIONS:
            logger.warning(
                "%s: %d sessions decide nothing, so tuning and reports use the built-in workloads; record %d or more",
                name,
                sessions,
                LEAST_SESSIONS,
            )
            continue
        logger.info("%s: %d sessions, %d at once on average", name, sessions, agents)
        is_fitted = (root / paths.PROFILES / f"{name}.json").is_file()  # by stage `profile`
        found.append(OwnWorkload(name, agents, name if is_fitted else None))
    return found


def _concurrency(folder: Path) -> tuple[int, int]:
    """Sessions without a parent, and how many of them were under way at once, on average over the recorded time."""
    columns = ("session_id", "parent_session_id", "arrival_s", "finish_s")
    turns = read_table(folder, "turns", columns).to_pandas()
    turns = turns[turns["parent_session_id"].isna()]
    if turns.empty:
        return 0, 0
    ends_s = turns["finish_s"].fillna(turns["arrival_s"])
    by_session = pd.DataFrame({"begin": turns["arrival_s"], "end": ends_s}).groupby(turns["session_id"])
    spans_s = by_session["end"].max() - by_session["begin"].min()
    recorded_s = float(ends_s.max() - turns["arrival_s"].min())
    at_once = spans_s.sum() / recorded_s if recorded_s > 0 else 0.0
    return len(spans_s), max(round(float(at_once)), LEAST_AGENTS)
