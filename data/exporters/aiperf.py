"""aiperf's format `dag_jsonl`: a conversation a line, whose turns spawn those of sub-agents and wait for them.

Prompts are text of the recorded length, and begin with the same text where sessions share a prefix. The server's own
answers are the context, of the recorded length where it takes `ignore_eos`. A compacted context begins another
conversation: the session is then an orchestrator, whose rounds run its parts one after the other.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tables.sessions import RecordedTurn
from ..workload.recorded.trees import end_s
from .contract import Notes
from .filler import filler
from .trees import Tree

FILE = "sessions.dag.jsonl"
PADDED = "prompts that lack a part of the context so far: sent with all of it"
COMPACTED = "compacted contexts: continued in a conversation of their own, with new text"
UNPAUSED = "turns and sub-agents whose own pause aiperf leaves out, since they wait or are waited for"


def export_trees(trees: Sequence[Tree], folder: Path, notes: Notes) -> None:
    sources = {tree.turns[0].source for tree in trees}
    with (folder / FILE).open("w", encoding="utf-8") as stream:
        for tree in trees:
            for conversation in conversations(tree, notes, with_source=len(sources) > 1):
                stream.write(json.dumps(conversation) + "\n")


def conversations(tree: Tree, notes: Notes, with_source: bool = False) -> Iterator[dict[str, Any]]:
    """The lines of a tree; names begin with the source if `with_source`."""
    for session in tree.walk():
        first = session.turns[0]
        name = f"{first.source}:{first.session_id}" if with_source else first.session_id
        parts = _parts(session, name, with_source, notes)
        if len(parts) > 1:
            rounds = [{"spawns": [part.name], "think_time_ms": part.pause_ms} for part in parts]
            yield {"session_id": name, "orchestrator": True, "rounds": rounds}
        for part in parts:
            yield {"session_id": part.name if len(parts) > 1 else name, "turns": part.turns}


@dataclass(slots=True)
class _Part:
    """The turns between two compactions of a session's context."""

    name: str
    pause_ms: float  # before it
    turns: list[dict[str, Any]] = field(default_factory=list)


def _parts(session: Tree, name: str, with_source: bool, notes: Notes) -> list[_Part]:
    parts: list[_Part] = []
    before: RecordedTurn | None = None
    context = 0
    for place, turn in enumerate(session.turns):
        agents = [agent.tree for agent in session.agents if agent.place == place - 1]
        waited_s = max((agent.end_s for agent in agents), default=0.0)
        waits_s = 0.0 if before is None else turn.arrival_s - max(end_s(before), waited_s)
        pause_ms = round(max(waits_s, 0.0) * 1000, 3)
        if before is None or turn.prompt_tokens < before.prompt_tokens:
            notes[COMPACTED] += before is not None
            parts.append(_Part(f"{name}#{len(parts)}", pause_ms))
            context, pause_ms = 0, 0.0
        notes[PADDED] += turn.prompt_tokens <= context
        notes[UNPAUSED] += bool(agents) and pause_ms > 0
        new_tokens = max(turn.prompt_tokens - context, 1)
        output_tokens = max(turn.output_tokens, 1)
        spawned = [agent.tree for agent in session.agents if agent.place == place]
        notes[UNPAUSED] += sum(agent.start_s > end_s(turn) for agent in spawned)
        parts[-1].turns.append(
            {
                "messages": _messages(turn, f"{name}#{place}", new_tokens, first=not context),
                "max_tokens": output_tokens,
                "extra": {"ignore_eos": True, "min_tokens": output_tokens},
                "delay": pause_ms,
                "spawns": [f"{turn.source}:{tree.session_id}" if with_source else tree.session_id for tree in spawned],
            }
        )
        context += new_tokens + output_tokens
        before = turn
    return parts


def _messages(turn: RecordedTurn, stream: str, tokens: int, first: bool) -> list[dict[str, str]]:
    """The new text; at a conversation's beginning the shared prefix goes before it, as the system prompt."""
    prefix = min(turn.prefix_tokens or 0, tokens - 1) if first and turn.prefix_id is not None else 0
    system = [{"role": "system", "content": filler(f"prefix {turn.prefix_id}", prefix)}] if prefix else []
    return [*system, {"role": "user", "content": filler(stream, tokens - prefix)}]
