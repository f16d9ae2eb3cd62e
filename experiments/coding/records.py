"""The recorded sessions of coding agents, by kind of agent and part of the split."""

from dataclasses import dataclass
from pathlib import Path

from augserve.data.tables.sessions import read_sessions
from augserve.data.tables.splits import Part, assign_parts
from augserve.data.workload.adjustments import Adjustments
from augserve.data.workload.coding_agents.sessions import MAX_CONTEXT
from augserve.data.workload.model import Session
from augserve.data.workload.trace_set import fit_context, read_trace_set
from augserve.pipeline.project.params import SplitShares

KINDS = {"swe-agent": "claude-code-swe", "pair-programmer": "kv-cache-sessions"}
"""The public set of each kind of agent."""
MIN_TURNS = 3
"""A session with fewer turns failed at its start."""


@dataclass(frozen=True, slots=True)
class Recorded:
    session: Session  # cut to MAX_CONTEXT
    shared_tokens: int | None  # system prompt and tools: as recorded, or what was cached before the first turn


def read_records(traces: Path, shares: SplitShares) -> dict[str, dict[Part, list[Recorded]]]:
    """By kind and part: sessions with MIN_TURNS or more whose first turn fits MAX_CONTEXT."""
    return {kind: _of_set(traces / source, shares) for kind, source in KINDS.items()}


def _of_set(folder: Path, shares: SplitShares) -> dict[Part, list[Recorded]]:
    sessions = read_trace_set(folder, None, None, Adjustments())
    cached = {f"{t[0].source}:{t[0].session_id}": t[0].cached_tokens for t in read_sessions([folder], vectors=False)}
    parts = assign_parts({session.group for session in sessions}, shares.validation_share, shares.test_share)
    found: dict[Part, list[Recorded]] = {"train": [], "validation": [], "test": []}
    for recorded in sessions:
        for session in fit_context((recorded.session,), MAX_CONTEXT, Adjustments()):
            if len(session.turns) >= MIN_TURNS:
                shared = _shared(session) or cached[session.session_id] or None
                found[parts[recorded.group]].append(Recorded(session, shared))
    return found


def sub_agents(records: list[Recorded]) -> list[Recorded]:
    """The sub-agents that the sessions of a part ran."""
    agents = (agent for recorded in records for agent in recorded.session.agents)
    return [Recorded(agent, _shared(agent)) for agent in agents]


def _shared(session: Session) -> int | None:
    return session.shared[0].tokens if session.shared else None
