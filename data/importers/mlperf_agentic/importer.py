"""MLPerf Endpoints' agentic conversations (JSON Lines, one message a line): each conversation is a session.

A turn is an answer of the assistant; the user's and tools' messages before it are its prompt, after all that came
before. Text is counted with the tokenizer, without what a chat template adds. The system prompt and the tools are a
prefix, named by a hash of their text.

A message's `delay_seconds` is the pause before it: the duration of each call whose result it brings, since the format
tells no more of parallel calls. No other times are recorded: conversations follow each other from 0, with output tokens
at a nominal pace. Rows of one conversation stand together; later ones are malformed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from ...tables.tool_arguments import argument_facts
from ...workload.steady_state import NOMINAL_TOKEN_S
from ..contract import Context, Record, SessionNames
from ..prefixes import text_prefix_id
from ..reading.lines import json_lines
from ..reading.members import Member
from ..tails import text_tail_counts
from ..tasks import task_family
from .rows import Call, Message, RowError, read_message

_METADATA = "dataset_metadata"


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    names = SessionNames()
    problems = context.problems
    clock_s = 0.0
    for member in members:
        open_one: _Conversation | None = None
        closed: set[str] = set()
        for _, value in json_lines(member, problems):
            if isinstance(value, dict) and value.get("_type") == _METADATA:
                problems.note("rows about the whole set")
                continue
            try:
                message = read_message(value)
            except RowError as error:
                problems.skip(problems.position, str(error))
                continue
            if message.conversation in closed:
                problems.skip(problems.position, "row apart from the others of its conversation")
                continue
            if open_one is None or message.conversation != open_one.name:
                if open_one is not None:
                    closed.add(open_one.name)
                    clock_s = open_one.close()
                open_one = _Conversation(message, names.unique(message.conversation), clock_s, context)
            yield from open_one.add(message)
        clock_s = clock_s if open_one is None else open_one.close()


class _Conversation:
    def __init__(self, first: Message, session_id: str, start_s: float, context: Context) -> None:
        self.name = first.conversation
        self._session_id = session_id
        self._problems = context.problems
        self._tokens = context.tokens
        tools = json.dumps(first.tools, ensure_ascii=False, sort_keys=True) if first.tools else ""
        self._tools_offered = len(first.tools) or None
        self._context_tokens = sum(self._tokens.count(text) for text in (first.system, tools) if text)
        self._prefix: dict[str, object] = {}
        if self._context_tokens:
            self._prefix["prefix_id"] = text_prefix_id(f"{first.system}\n{tools}")
            self._prefix["prefix_tokens"] = self._context_tokens
        self._defaults = first.request
        self._row = 0  # number of the last message
        self._turns = 0
        self._asked: Message | None = None  # the last message that no answer follows yet
        self._asked_s = start_s
        self._finish_s = start_s
        self._calls: tuple[Call, ...] = ()  # of the last answer

    def add(self, message: Message) -> Iterator[Record]:
        """The rows that the message completes."""
        if message.turn <= self._row:
            self._problems.skip(self._problems.position, "turn number is not above that of the row before")
            return
        self._row = message.turn
        if message.role == "assistant":
            yield from self._answer(message)
        else:
            yield from self._ask(message)

    def close(self) -> float:
        """The time at which the next conversation may begin."""
        if self._asked is not None:
            self._problems.note("messages without an answer after them")
        if self._calls:
            self._problems.note("tool calls without a result", len(self._calls))
        return self._finish_s

    def _ask(self, message: Message) -> Iterator[Record]:
        delay_s = message.delay_s
        if delay_s is None:
            self._problems.skip(self._problems.position, "delay_seconds is negative or no number: taken as 0")
            delay_s = 0.0
        self._asked_s = max(self._asked_s, self._finish_s) + delay_s
        self._asked = message
        self._context_tokens += self._tokens.count(message.text) if message.text else 0
        results = {call_id: self._tokens.count(text) if text else 0 for call_id, text in message.results}
        self._context_tokens += sum(results.values())
        for number, call in enumerate(self._calls):
            if call.call_id in results:
                yield "tool_calls", self._call_row(number, call, delay_s, results.pop(call.call_id))
            else:
                self._problems.note("tool calls without a result")
        self._calls = ()
        for _ in results:
            self._problems.skip(self._problems.position, "tool result without a call of its id")

    def _answer(self, message: Message) -> Iterator[Record]:
        asked, self._asked = self._asked, None
        texts = [message.text, *(call.text for call in message.calls)]
        output_tokens = self._tokens.count("\n".join(filter(None, texts)))
        if asked is None:
            self._problems.skip(self._problems.position, "assistant row without a message to answer")
            self._context_tokens += output_tokens
            return
        self._finish_s = self._asked_s + output_tokens * NOMINAL_TOKEN_S
        yield "turns", self._turn_row(asked, message, output_tokens)
        self._turns += 1
        self._calls = message.calls
        self._context_tokens += output_tokens

    def _turn_row(self, asked: Message, answer: Message, output_tokens: int) -> Mapping[str, object]:
        tail = asked.results[-1][1] if asked.results else asked.text
        request = {name: value if value is not None else self._defaults[name] for name, value in asked.request.items()}
        return {
            "session_id": self._session_id,
            "turn": self._turns,
            "split_group": task_family(self.name),
            "arrival_s": self._asked_s,
            "finish_s": self._finish_s,
            "prompt_tokens": self._context_tokens,
            "output_tokens": output_tokens,
            "tools_offered": self._tools_offered,
            "tool_called": answer.calls[0].tool if answer.calls else None,
            "tail_counts": text_tail_counts(tail, self._tokens),
            **request,
            **self._prefix,
        }

    def _call_row(self, number: int, call: Call, duration_s: float, result_tokens: int) -> Mapping[str, object]:
        facts = argument_facts(call.arguments)
        return {
            "session_id": self._session_id,
            "turn": self._turns - 1,
            "call": number,
            "tool": call.tool,
            "argument_count": facts.count,
            "argument_bytes": facts.size_bytes,
            "argument_head": facts.head,
            "start_s": self._finish_s,
            "duration_s": duration_s,
            "timing": "pause",
            "result_tokens": result_tokens,
        }
