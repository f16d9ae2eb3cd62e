"""Sessions of kv-cache-tester: one JSON object a file, sub-agents within it as sessions of their own.

Times are seconds from the session's start, arrivals in whole seconds. A file has no names of tools: the pause from a
turn that ended in `tool_use` to the turn with the result (tool and human approval together) is a call of tool
`unknown`. Sub-agents in that pause are calls of tool `subagent` instead, with times of their own.
Prompt tokens are cached as far as the blocks equal those of the session's previous request.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from ..contract import Context, Record, SessionNames
from ..reading.lines import LINE_LIMIT_BYTES
from ..reading.members import Member
from ..reading.problems import Problems
from .records import RecordError, Request, Subagent, read_piece

UNKNOWN_TOOL = "unknown"
SUBAGENT_TOOL = "subagent"
CLOCK_S = 1.0  # resolution of `t`: a gap may seem to be negative by as much
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
        session = _Session(names.unique(name), name, member.name, block_tokens, context.problems)
        yield from session.read(value["requests"], 0.0)


class _Session:
    def __init__(self, session_id: str, group: str, where: str, block_tokens: int, problems: Problems) -> None:
        self._session_id = session_id
        self._group = group
        self._where = where
        self._block_tokens = block_tokens
        self._problems = problems

    def read(self, values: Sequence[Any], start_s: float) -> Iterator[Record]:
        """Rows of the session whose clock starts at `start_s`, and of its sub-agents."""
        last: Request | None = None
        before: Request | None = None  # the request before `last`
        agents: list[Subagent] = []  # since `last`
        turn = 0
        for number, value in enumerate(values):
            self._problems.position = where = f"{self._where}: request {number}"
            try:
                piece = read_piece(value, start_s)
            except (RecordError, OverflowError) as error:
                self._problems.skip(where, str(error))
                continue
            if isinstance(piece, Subagent):
                agents.append(piece)
                agent = f"{self._session_id}/{piece.agent_id or f'agent-{number}'}"
                nested = _Session(agent, self._group, where, self._block_tokens, self._problems)
                yield from nested.read(piece.requests, piece.start_s)
                continue
            if last is not None and piece.arrival_s < last.arrival_s:
                self._problems.skip(where, "the clock goes backwards: t before that of the request before")
                continue
            if last is not None:
                yield "turns", self._turn_row(turn, before, last, agents)
                yield from self._call_rows(turn, last, piece, agents)
                turn += 1
            before, last, agents = last, piece, []
        if last is not None:
            yield "turns", self._turn_row(turn, before, last, agents)
            yield from self._call_rows(turn, last, None, agents)

    def _turn_row(
        self, turn: int, before: Request | None, request: Request, agents: Sequence[Subagent]
    ) -> dict[str, object]:
        cached = None if before is None else _shared(before.blocks, request.blocks) * self._block_tokens
        called = SUBAGENT_TOOL if agents else UNKNOWN_TOOL if request.calls_tool else None
        return {
            "session_id": self._session_id,
            "turn": turn,
            "model": request.model,
            "split_group": self._group,
            "arrival_s": request.arrival_s,
            "first_token_s": request.first_token_s,
            "finish_s": request.finish_s,
            "prompt_tokens": request.prompt_tokens,
            "cached_tokens": None if cached is None else min(cached, request.prompt_tokens),
            "output_tokens": request.output_tokens,
            "finish_reason": request.finish_reason,
            "tool_called": called,
        }

    def _call_rows(
        self, turn: int, request: Request, following: Request | None, agents: Sequence[Subagent]
    ) -> Iterator[Record]:
        if agents:
            for call, agent in enumerate(agents):
                yield "tool_calls", self._call_row(turn, call, SUBAGENT_TOOL, agent.start_s, agent.duration_s, "call")
        elif request.calls_tool and following is not None and following.brings_result:
            if request.finish_s is not None:
                start_s, gap_s = request.finish_s, following.arrival_s - request.finish_s
            elif following.think_s is not None:
                start_s, gap_s = following.arrival_s - following.think_s, following.think_s
            else:
                self._problems.note("tool pauses of unknown length")
                return
            if gap_s <= -CLOCK_S:
                self._problems.skip(self._problems.position, "overlaps the request whose tool result it brings")
                return
            if gap_s < 0:
                self._problems.note("tool pauses shorter than the clock's resolution: taken as 0 s")
            row = self._call_row(turn, 0, UNKNOWN_TOOL, start_s, max(gap_s, 0.0), "pause")
            yield "tool_calls", {**row, "result_tokens": _added(request, following)}

    def _call_row(
        self, turn: int, call: int, tool: str, start_s: float, duration_s: float, timing: str
    ) -> dict[str, object]:
        return {
            "session_id": self._session_id,
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
