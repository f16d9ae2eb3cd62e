"""Checks the trees of sessions of an import, once all rows are written: a sub-agent may come before its parent.

A sub-agent that cannot be in a tree becomes a session of its own: its rows stay, without a parent. Memory holds a few
columns of the tables.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...tables.ancestry import SessionKey, lineage
from ...tables.files import TableName, parquet_options
from ...tables.schema import CLOCK_S, TABLES
from ..reading.problems import Problems

_KEY = ["source", "session_id"]
_ALONE = "made a session of its own"


class _Span(NamedTuple):
    start_s: float
    open_s: float  # the last arrival of a turn without an end
    end_s: float  # infinite where the last turn has no end

    def within(self, parent: "_Span") -> bool:
        end_s = self.end_s if math.isfinite(self.end_s) else self.open_s
        return self.start_s >= parent.start_s - CLOCK_S and end_s <= parent.end_s + CLOCK_S


def check_trees(folder: Path, problems: Problems) -> None:
    """Remove parents that cannot be, and calls' sub-agents that are not theirs. Raises ImportingError when strict."""
    parents = pq.read_table(folder / "turns.parquet", columns=["parent_session_id"])["parent_session_id"]
    agents = pq.read_table(folder / "tool_calls.parquet", columns=["agent_session_id"])["agent_session_id"]
    children: dict[SessionKey, str] = {}
    if parents.null_count < len(parents):
        children, alone = _children(_sessions(folder), problems)
        if alone:
            _clear(folder, "turns", "parent_session_id", pd.DataFrame(alone, columns=_KEY), _KEY)
    if agents.null_count < len(agents):
        _check_calls(folder, children, problems)


def _sessions(folder: Path) -> pd.DataFrame:
    """By source and session: the parent, and the columns of `_Span`."""
    columns = [*_KEY, "parent_session_id", "arrival_s", "finish_s"]
    turns = pq.read_table(folder / "turns.parquet", columns=columns).to_pandas()
    turns["open_s"] = turns["arrival_s"].where(turns["finish_s"].isna(), -np.inf)
    calls = pq.read_table(folder / "tool_calls.parquet", columns=[*_KEY, "start_s", "duration_s"]).to_pandas()
    calls["end_s"] = calls["start_s"] + calls["duration_s"]
    by_session = turns.groupby(_KEY, sort=False)
    sessions = pd.DataFrame(
        {
            "parent": by_session["parent_session_id"].first(),  # the first that is not null
            "start_s": by_session["arrival_s"].min(),
            "end_s": by_session["finish_s"].max(),
            "open_s": by_session["open_s"].max(),
        }
    )
    sessions["end_s"] = np.fmax(sessions["end_s"], calls.groupby(_KEY, sort=False)["end_s"].max())
    sessions.loc[~(sessions["open_s"] < sessions["end_s"]), "end_s"] = np.inf
    return sessions


def _children(sessions: pd.DataFrame, problems: Problems) -> tuple[dict[SessionKey, str], list[SessionKey]]:
    """The parents of sub-agents in sound trees, and the sub-agents that are in none."""
    named = sessions[sessions["parent"].notna()]
    parents: dict[SessionKey, str] = dict(zip(named.index, named["parent"], strict=True))
    above = {session: (session[0], parent) for session, parent in parents.items()}
    members = sessions[sessions.index.isin([*parents, *above.values()])]
    spans = {key: _Span(*times) for key, *times in members[["start_s", "open_s", "end_s"]].itertuples(name=None)}
    alone = []
    for (source, session_id), parent in parents.items():
        if (source, parent) not in spans:
            problems.skip(f"session {session_id!r}", f"its parent is missing: {_ALONE}")
        elif lineage((source, session_id), above)[1] == (source, session_id):
            problems.skip(f"session {session_id!r}", f"its own ancestor: {_ALONE}")
        elif not spans[source, session_id].within(spans[source, parent]):
            problems.note(f"sub-agents that begin before their parent or outlive it: each {_ALONE}")
        else:
            continue
        alone.append((source, session_id))
    for key in alone:
        del parents[key]
    return parents, alone


def _check_calls(folder: Path, children: Mapping[SessionKey, str], problems: Problems) -> None:
    """Remove a call's sub-agent unless that is a child of the call's session."""
    filters = pc.field("agent_session_id").is_valid()
    columns = [*_KEY, "turn", "call", "agent_session_id"]
    calls = pq.read_table(folder / "tool_calls.parquet", columns=columns, filters=filters).to_pandas()
    agents = zip(calls["source"], calls["agent_session_id"], strict=True)
    parents = pd.Series([children.get(agent) for agent in agents], calls.index, dtype=object)
    others = calls[parents != calls["session_id"]]
    if len(others):
        problems.note("calls whose sub-agent is not a child of their session: kept without it", len(others))
        _clear(folder, "tool_calls", "agent_session_id", others, [*_KEY, "turn", "call"])


def _clear(folder: Path, name: TableName, column: str, rows: pd.DataFrame, keys: list[str]) -> None:
    """Write the table again with null in `column` of the rows with these `keys`, one row group at a time."""
    path, copy = folder / f"{name}.parquet", folder / f".{name}.parquet"
    chosen = set(rows[keys].itertuples(index=False, name=None))
    place = TABLES[name].get_field_index(column)
    source = pq.ParquetFile(path)
    with pq.ParquetWriter(copy, TABLES[name], **parquet_options(name)) as target:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            found = zip(*(table.column(key).to_pylist() for key in keys), strict=True)
            kept = pa.array([row not in chosen for row in found], pa.bool_())
            values = pc.if_else(kept, table.column(column), pa.scalar(None, pa.string()))
            target.write_table(table.set_column(place, TABLES[name].field(column), values).cast(TABLES[name]))
    copy.replace(path)
