"""Sessions of kv-cache-tester: one JSON object a file, sub-agents within it as child sessions.

Times are seconds from the session's start, arrivals in whole seconds. A file has no names of tools: the pause from a
turn that ended in `tool_use` to the turn with the result (tool and human approval together) is a call of tool
`unknown`. Sub-agents in that pause are calls of tool `subagent` instead, with times of their own; a sub-agent may have
sub-agents. Prompt tokens are cached as far as the blocks equal those of the session's previous request.
Block hashes compare within one file, or within the set where `hash_id_scope` is `global`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ...tables.schema import CLOCK_S
from ..contract import Context, Record, SessionNames
from ..prefixes import block_prefix_id
from ..reading.lines import LINE_LIMIT_BYTES
from ..reading.members import Member
from ..reading.problems import Problems
from .records import RecordError, Request, Subagent, are_absolute, prefix_tokens, read_piece

UNKNOWN_TOOL = "unknown"
SUBAGENT_TOOL = "subagent"
_BLOCK_TOKENS = 64


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    names = SessionNames()
    for member in members:
        context.problems.position = member.name
        text = member.stream.read(LINE_LIMIT_BYTES + 1)
        if len(text) > LINE_LIMIT_BYTES:
            context.problems.skip(member.name, f"session larger than {LINE_LIMIT_BYTES >> 20} MiB")
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
            context.problems.skip(member.name, "not valid JSON in UTF-8")
            continue
        if not isinstance(value, dict) or not isinstance(value.get("requests"), list):
            context.problems.skip(member.name, "no session: not an object with requests")
            continue
        name = value.get("id")
        name = name if isinstance(name, str) and name else PurePath(member.name).stem
        block_tokens = value.get("block_size", _BLOCK_TOKENS)
        if not isinstance(block_tokens, int) or block_tokens < 1:
            context.problems.skip(member.name, "block_size is no positive number")
            continue
        try:
            shared_tokens = prefix_tokens(value)
        except RecordError as error:
            context.problems.skip(member.name, f"{error}: taken as not known")
            shared_tokens = 0
        session_id = names.unique(name)
        scope = context.source if value.get("hash_id_scope") == "global" else session_id
        trace = _Trace(name, scope, block_tokens, are_absolute(value["requests"]), context.problems, SessionNames())
        yield from _Session(trace, session_id, None, shared_tokens, member.name).read(value["requests"], 0.0)


@dataclass(frozen=True, slots=True)
class _Trace:
    """What the sessions of a file have in common."""

    group: str
    scope: str  # of the block hashes
    block_tokens: int
    absolute: bool  # requests of sub-agents have times of the whole file
    problems: Problems
    names: SessionNames  # of the file's sub-agents: an id may be there twice


@dataclass(slots=True)
class _Session:
    trace: _Trace
    session_id: str
    parent: str | None
    prefix_tokens: int  # of the system prompt and tools; 0: unknown
    where: str

    def read(self, values: Sequence[Any], start_s: float) -> Iterator[Record]:
        """Rows of the session whose clock starts at `start_s`, and of its sub-agents."""
        problems = self.trace.problems
        last: Request | None = None
        before: Request | None = None  # the request before `last`
        agents: list[tuple[Subagent, str | None]] = []  # since `last`, with their sessions
        turn = 0
        for number, value in enumerate(values):
            problems.position = where = f"{self.where}: request {number}"
            try:
                piece = read_piece(value, start_s, self.trace.absolute)
            except RecordError as error:
                problems.skip(where, str(error))
                continue
            if isinstance(piece, Subagent):
                agent = _Session(
                    self.trace,
                    self.trace.names.unique(f"{self.session_id}/{piece.agent_id or f'agent-{number}'}"),
                    self.session_id,
                    piece.prefix_tokens,
                    where,
                )
                rows = agent.read(piece.requests, piece.requests_start_s)
                first = next(rows, None)
                agents.append((piece, None if first is None else agent.session_id))
                if first is not None:
                    yield first
                    yield from rows
                continue
            if last is not None and piece.arrival_s < last.arrival_s:
                problems.skip(where, "the clock goes backwards: t before that of the request before")
                continue
            if last is not None:
                yield "turns", self._turn_row(turn, before, last, bool(agents))
                yield from self._call_rows(turn, last, piece, agents)
                turn += 1
            elif agents:
                problems.note("sub-agents before the first request of their session: without a call", len(agents))
            before, last, agents = last, piece, []
        if last is not None:
            yield "turns", self._turn_row(turn, before, last, bool(agents))
            yield from self._call_rows(turn, last, None, agents)

    def _turn_row(self, turn: int, before: Request | None, request: Request, with_agents: bool) -> dict[str, object]:
        block_tokens = self.trace.block_tokens
        cached = None if before is None else _shared(before.blocks, request.blocks) * block_tokens
        called = SUBAGENT_TOOL if with_agents else UNKNOWN_TOOL if request.calls_tool else None
        row: dict[str, object] = {
            "session_id": self.session_id,
            "turn": turn,
            "parent_session_id": self.parent,
            "model": request.model,
            "split_group": self.trace.group,
            "arrival_s": request.arrival_s,
            "first_token_s": request.first_token_s,
            "finish_s": request.finish_s,
            "prompt_tokens": request.prompt_tokens,
            "cached_tokens": None if cached is None else min(cached, request.prompt_tokens),
            "output_tokens": request.output_tokens,
            "finish_reason": request.finish_reason,
            "tool_called": called,
        }
        if request.blocks:
            row |= {"block_hashes": request.blocks, "block_tokens": block_tokens, "block_scope": self.trace.scope}
        if 0 < self.prefix_tokens <= request.prompt_tokens:
            row["prefix_tokens"] = self.prefix_tokens
            blocks = self.prefix_tokens // block_tokens
            if 0 < blocks <= len(request.blocks):
                row["prefix_id"] = block_prefix_id(self.trace.scope, request.blocks[:blocks])
        return row

    def _call_rows(
        self, turn: int, request: Request, following: Request | None, agents: Sequence[tuple[Subagent, str | None]]
    ) -> Iterator[Record]:
        problems = self.trace.problems
        if agents:
            for call, (agent, session_id) in enumerate(agents):
                row = self._call_row(turn, call, SUBAGENT_TOOL, agent.start_s, agent.duration_s, "call")
                yield "tool_calls", {**row, "agent_session_id": session_id}
        elif request.calls_tool and following is not None and following.brings_result:
            if request.finish_s is not None:
                start_s, gap_s = request.finish_s, following.arrival_s - request.finish_s
            elif following.think_s is not None:
                start_s, gap_s = following.arrival_s - following.think_s, following.think_s
            else:
                problems.note("tool pauses of unknown length")
                return
            if gap_s <= -CLOCK_S:
                problems.skip(problems.position, "overlaps the request whose tool result it brings")
                return
            if gap_s < 0:
                problems.note("tool pauses shorter than the clock's resolution: taken as 0 s")
            row = self._call_row(turn, 0, UNKNOWN_TOOL, start_s, max(gap_s, 0.0), "pause")
            yield "tool_calls", {**row, "result_tokens": _added(request, following)}

    def _call_row(
        self, turn: int, call: int, tool: str, start_s: float, duration_s: float, timing: str
    ) -> dict[str, object]:
        return {
            "session_id": self.session_id,
            "turn": turn,
            "call": call,
            "tool": tool,
            "start_s": start_s,
            "duration_s": duration_s,
            "timing": timing,
        }


def _shared(earlier: tuple[int, ...], later: tuple[int, ...]) -> int:
    """The number of leading blocks that are equal."""
    if later[: len(earlier)] == earlier:  # as it nearly always is
        return len(earlier)
    blocks = enumerate(zip(earlier, later, strict=False))
    return next((place for place, (first, second) in blocks if first != second), len(later))


def _added(request: Request, following: Request) -> int | None:
    """Prompt tokens beyond the earlier request's prompt and output; None where its prompt changed."""
    if _shared(request.blocks, following.blocks) < len(request.blocks):
        return None
    return max(following.prompt_tokens - request.prompt_tokens - request.output_tokens, 0)
