"""kv-cache-tester's format (one JSON object a root session), in the variant of SemiAnalysis' AgentX traces.

There all times count from the session's start, and `t` of a sub-agent is its start; aiperf reads the same. A file has
no names of tools: a pause with a call is a `tool_result` in the next request, whatever its number of calls.
Block hashes are those recorded; a trace without any gets numbers that follow its prefixes and growing contexts.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..tables.sessions import RecordedTurn
from ..workload.recorded.trees import end_s
from .block_ids import BlockIds
from .contract import Notes
from .trees import Agent, Tree

_BLOCK_TOKENS = 64  # where the trace has no blocks
_DECIMALS = 6  # of seconds
_STOPS = {"stop": "end_turn", "length": "max_tokens"}
NESTED = "sessions whose sub-agents have sub-agents: aiperf 0.13 reads one level"
GLOBAL = "sessions whose block hashes compare with other sessions': aiperf 0.13 reads hashes of one session"
OTHER_BLOCKS = "requests without block hashes in a session that has some: without hash_ids"


def export_trees(trees: Sequence[Tree], folder: Path, notes: Notes) -> None:
    digits = max(len(str(len(trees))), 4)
    for number, tree in enumerate(trees):
        trace = weka_trace(tree, notes)
        (folder / f"trace_{number:0{digits}d}.json").write_text(json.dumps(trace), encoding="utf-8")


def weka_trace(tree: Tree, notes: Notes) -> dict[str, Any]:
    """The JSON object of a tree. Seconds to six decimals, durations of sub-agents to the millisecond."""
    turns = [turn for session in tree.walk() for turn in session.turns]
    hashed = [turn for turn in turns if turn.block_hashes is not None]
    block_tokens = (hashed[0].block_tokens if hashed else None) or _BLOCK_TOKENS
    is_global = any(turn.block_scope == turn.source for turn in hashed)
    notes.update({NESTED: tree.depth > 1, GLOBAL: is_global})
    if hashed:
        notes[OTHER_BLOCKS] += sum(turn.block_hashes is None and turn.prompt_tokens >= block_tokens for turn in turns)
    first_s = min(session.start_s for session in tree.walk())
    requests = _Requests(first_s, None if hashed else BlockIds(block_tokens))
    return {
        "id": tree.session_id,
        "models": _models(tree),
        "block_size": block_tokens,
        "hash_id_scope": "global" if is_global else "local",
        "tool_tokens": 0,
        "system_tokens": tree.prefix_tokens,
        "requests": requests.of(tree),
    }


class _Requests:
    def __init__(self, first_s: float, numbers: BlockIds | None) -> None:
        self._first_s = first_s
        self._numbers = numbers  # None: the hashes are recorded

    def of(self, tree: Tree) -> list[dict[str, Any]]:
        blocks = None if self._numbers is None else self._numbers.of_session(tree.turns)
        requests: list[dict[str, Any]] = []
        before: RecordedTurn | None = None
        for place, turn in enumerate(tree.turns):
            hashes = list(turn.block_hashes or ()) if blocks is None else next(blocks)
            requests.append(self._request(turn, before, hashes))
            requests += [self._agent(agent) for agent in tree.agents if agent.place == place]
            before = turn
        return requests

    def _request(self, turn: RecordedTurn, before: RecordedTurn | None, hashes: list[int]) -> dict[str, Any]:
        called = turn.tool_called is not None or bool(turn.calls)
        stop = _STOPS.get(turn.finish_reason or "", "")
        request: dict[str, Any] = {
            "t": self._time(turn.arrival_s),
            "type": "n" if turn.first_token_s is None else "s",
            "model": turn.model or "",
            "in": turn.prompt_tokens,
            "out": turn.output_tokens,
            "hash_ids": hashes,
            "input_types": ["tool_result" if before is not None and before.calls else "text"],
            "output_types": ["tool_use" if called else "text"],
            "stop": "tool_use" if called and stop == "end_turn" else stop,
        }
        if turn.finish_s is not None:
            request["api_time"] = round(turn.finish_s - turn.arrival_s, _DECIMALS)
        if turn.first_token_s is not None:
            request["ttft"] = round(turn.first_token_s - turn.arrival_s, _DECIMALS)
        if before is not None and (before.finish_s is not None or before.calls):
            request["think_time"] = round(max(turn.arrival_s - end_s(before), 0.0), _DECIMALS)
        return request

    def _agent(self, agent: Agent) -> dict[str, Any]:
        tree, call = agent.tree, agent.call
        start_s = tree.start_s if call is None else min(call.start_s, tree.start_s)
        finish_s = tree.end_s if call is None else call.end_s
        turns = tree.turns
        return {
            "t": self._time(start_s),
            "type": "subagent",
            "agent_id": tree.session_id.removeprefix(f"{turns[0].parent_session_id}/"),
            "subagent_type": "agent" if call is None else call.tool,
            "duration_ms": round(max(finish_s - start_s, 0.0) * 1000),
            "total_tokens": sum(turn.prompt_tokens + turn.output_tokens for turn in turns),
            "tool_use_count": sum(len(turn.calls) for turn in turns),
            "status": "completed",
            "requests": self.of(tree),
            "models": _models(tree),
            "tool_tokens": 0,
            "system_tokens": tree.prefix_tokens,
        }

    def _time(self, at_s: float) -> float:
        return round(at_s - self._first_s, _DECIMALS)


def _models(tree: Tree) -> list[str]:
    return sorted({turn.model for session in tree.walk() for turn in session.turns if turn.model is not None})
