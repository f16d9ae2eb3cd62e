"""A Claude Code conversation as turns and tool calls.

A turn is one LLM call: all records of one message id. It arrives with the last record before it (a tool's result, the
user's text) and ends with its own last record. A tool call lasts from its `tool_use` to its `tool_result`, each of
parallel calls by itself; it includes the time a human took to approve it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...tables.tool_arguments import argument_facts
from ..contract import Context, Record
from ..tails import text_tail_counts
from .records import Entry, Message, ToolResult, ToolUse, arguments_text

AGENT_TOOLS = ("Task", "Agent")
_PLAUSIBLE = 0.5  # of the counted tokens: tokenizers differ, a stream's first usage (1 to 8 tokens) differs by more


@dataclass(slots=True)
class _Turn:
    number: int
    message: Message
    arrival_s: float
    arrival_known: bool
    counted_prompt_tokens: int
    tail: str
    finish_s: float
    texts: list[str] = field(default_factory=list)
    first_tool: str | None = None
    calls: int = 0
    rows: list[Record] = field(default_factory=list)  # calls that ended before the turn's row was written


@dataclass(slots=True)
class Call:
    turn: int
    number: int
    use: ToolUse
    start_s: float
    agent: str | None = None  # the session of the sub-agent that it runs


def agent_session(root: str, agent: str) -> str:
    """The session id of a sub-agent."""
    return f"{root}/{agent}"


class Conversation:
    """The entries of one agent (or sub-agent), in the file's order."""

    def __init__(self, root: str, agent: str | None, parent: str | None, split_group: str, context: Context) -> None:
        """Of the session `root`, or of its sub-agent `agent`, which a call of session `parent` runs."""
        self.session_id = root if agent is None else agent_session(root, agent)
        self._root = root
        self._parent = parent
        self._split_group = split_group
        self._problems = context.problems
        self._tokens = context.tokens
        self._open: _Turn | None = None
        self._messages: set[str] = set()
        self._call_ids: set[str] = set()
        self._calls: dict[str, Call] = {}  # without a result yet
        self._turns = 0
        self._asked_s: float | None = None  # time of the last record that the next turn answers
        self._tail = ""
        self._context_tokens = 0  # of the text so far, in place of a missing usage

    def add(self, entry: Entry) -> Iterator[Record]:
        """The rows that `entry` completes."""
        if entry.message is None:
            yield from self._add_input(entry)
            return
        if self._open is None or entry.message.message_id != self._open.message.message_id:
            if entry.message.message_id in self._messages:
                self._problems.skip(self._problems.position, "message id of an earlier turn")
                return
            yield from self._end_turn()
            self._open = self._begin_turn(entry, entry.message)
        self._add_output(entry, entry.message, self._open)

    def calls_of_agents(self) -> list[Call]:
        """Calls without a result that run a sub-agent which is not known yet, by their start."""
        return [call for call in self._calls.values() if call.use.tool in AGENT_TOOLS and call.agent is None]

    def close(self) -> Iterator[Record]:
        """The remaining rows, at the conversation's end."""
        yield from self._end_turn()
        if self._calls:
            self._problems.note("tool calls without a result", len(self._calls))
            self._calls.clear()

    def _add_input(self, entry: Entry) -> Iterator[Record]:
        if entry.compacted:
            yield from self._end_turn()
            self._context_tokens = 0
        self._asked_s = entry.at_s if self._asked_s is None else max(self._asked_s, entry.at_s)
        self._context_tokens += self._tokens.count(entry.text) if entry.text else 0
        self._tail = entry.tail or self._tail
        for result in entry.results:
            call = self._calls.pop(result.call_id, None)
            if call is None:
                self._problems.skip(self._problems.position, "tool_result without an open tool_use")
                continue
            if entry.returned_agent is not None and len(entry.results) == 1:
                call.agent = agent_session(self._root, entry.returned_agent)
            row = self._call_row(call, result, entry.at_s)
            if self._open is not None and call.turn == self._open.number:
                self._open.rows.append(row)
            else:
                yield row

    def _begin_turn(self, entry: Entry, message: Message) -> _Turn:
        asked_s = self._asked_s
        if asked_s is None:
            self._problems.note("turns without a record before them: their end is unknown")
            asked_s = entry.at_s
        turn = _Turn(
            number=self._turns,
            message=message,
            arrival_s=asked_s,
            arrival_known=self._asked_s is not None,
            counted_prompt_tokens=self._context_tokens,
            tail=self._tail,
            finish_s=entry.at_s,
        )
        self._turns += 1
        self._messages.add(message.message_id)
        self._asked_s, self._tail = None, ""
        return turn

    def _add_output(self, entry: Entry, message: Message, turn: _Turn) -> None:
        turn.finish_s = max(turn.finish_s, entry.at_s)
        turn.message = Message(
            message_id=message.message_id,
            model=message.model or turn.message.model,
            finish_reason=message.finish_reason or turn.message.finish_reason,
            prompt_tokens=message.prompt_tokens or turn.message.prompt_tokens,
            cached_tokens=turn.message.cached_tokens if message.cached_tokens is None else message.cached_tokens,
            output_tokens=max(message.output_tokens or 0, turn.message.output_tokens or 0) or None,
        )
        turn.texts += [entry.text] if entry.text else []
        for use in entry.uses:
            turn.texts.append(arguments_text(use))
            if use.call_id in self._call_ids:
                self._problems.skip(self._problems.position, "tool_use id of an earlier call")
                continue
            self._call_ids.add(use.call_id)
            self._calls[use.call_id] = Call(turn.number, turn.calls, use, entry.at_s)
            turn.first_tool = turn.first_tool or use.tool
            turn.calls += 1

    def _end_turn(self) -> Iterator[Record]:
        turn, self._open = self._open, None
        if turn is None:
            return
        counted = self._tokens.count("\n".join(turn.texts)) if turn.texts else 0
        recorded = turn.message.output_tokens or 0
        output_tokens = recorded if recorded >= counted * _PLAUSIBLE else counted
        self._context_tokens += counted
        if self._asked_s is None:
            self._asked_s = turn.finish_s  # a message that follows with nothing between answers this one
        yield "turns", self._turn_row(turn, output_tokens)
        yield from turn.rows

    def _turn_row(self, turn: _Turn, output_tokens: int) -> dict[str, object]:
        message = turn.message
        return {
            "session_id": self.session_id,
            "turn": turn.number,
            "parent_session_id": self._parent,
            "model": message.model,
            "split_group": self._split_group,
            "request_id": message.message_id,
            "arrival_s": turn.arrival_s,
            "finish_s": turn.finish_s if turn.arrival_known else None,
            "prompt_tokens": message.prompt_tokens or turn.counted_prompt_tokens,
            "cached_tokens": message.cached_tokens,
            "output_tokens": output_tokens,
            "finish_reason": message.finish_reason or ("stop" if turn.calls else None),
            "tool_called": turn.first_tool,
            "tail_counts": text_tail_counts(turn.tail, self._tokens),
        }

    def _call_row(self, call: Call, result: ToolResult, end_s: float) -> Record:
        facts = argument_facts(call.use.arguments)
        tokens = self._tokens.count(result.text) if result.text else 0
        self._context_tokens += tokens
        return "tool_calls", {
            "session_id": self.session_id,
            "turn": call.turn,
            "call": call.number,
            "tool": call.use.tool,
            "argument_count": facts.count,
            "argument_bytes": facts.size_bytes,
            "argument_head": facts.head,
            "start_s": call.start_s,
            "duration_s": end_s - call.start_s,
            "timing": "call",
            "result_tokens": tokens,
            "agent_session_id": call.agent,
        }
