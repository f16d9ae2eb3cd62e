"""OpenTelemetry spans of generative AI: OTLP/JSON documents, and JSON Lines of them (the Collector's file exporter).

A session is a conversation (`gen_ai.conversation.id`, or that of another span of the trace), otherwise a trace. LLM
calls are its turns by start; a tool's span is a call of the last turn that started before it. An agent's span or a
conversation of its own, within a tool's or another agent's span, is a child session; the tool's call runs it, or else
the agent's span is a call itself. Memory does not grow with the input (store.py).
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from ..contract import Context, Record
from ..reading.lines import LINE_LIMIT_BYTES, json_lines
from ..reading.members import Member
from ..reading.problems import Problems
from .spans import SpanError, read_span
from .store import SpanStore

_OPENING_BYTES = 200  # in the first line of a document over many lines; a longer line is one of JSON Lines
_SPANS = "resourceSpans.item.scopeSpans.item.spans.item"


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    with SpanStore() as store:
        for member in members:
            for value in _spans(member, context.problems):
                _store(value, store, context)
        context.problems.position = ""
        yield from _rows(store, context.problems)


def _store(value: Any, store: SpanStore, context: Context) -> None:
    problems = context.problems
    try:
        span = read_span(value, context.tokens)
    except SpanError as error:
        problems.skip(problems.position, str(error))
        return
    if span.left_out is not None:
        problems.note(span.left_out)
    if not store.add(span, problems.position):
        problems.skip(problems.position, "span of the same ids as an earlier one")


@dataclass(slots=True)
class _Turn:
    session: str
    parent: str | None
    root: str | None
    number: int
    row: dict[str, Any]
    calls: list[dict[str, Any]] = field(default_factory=list)

    def records(self) -> Iterator[Record]:
        called = self.calls[0]["tool"] if self.calls else None
        identity = {"session_id": self.session, "turn": self.number}
        tree = {"parent_session_id": self.parent, "split_group": self.root}
        yield "turns", {**identity, **tree, **self.row, "tool_called": called}
        for call, row in enumerate(self.calls):
            yield "tool_calls", {**identity, "call": call, **row}


def _rows(store: SpanStore, problems: Problems) -> Iterator[Record]:
    turn: _Turn | None = None
    for found in store.ordered():
        problems.position = found.place
        if turn is not None and turn.session != found.session:
            yield from turn.records()
            turn = None
        start_s, end_s = found.start_ns / 1e9, found.end_ns / 1e9
        if found.inner:
            problems.note("LLM calls within an LLM call: the outer one counts")
        elif found.kind == "turn":
            number = 0
            if turn is not None:
                yield from turn.records()
                number = turn.number + 1
            row = {"arrival_s": start_s, "finish_s": end_s, **found.row}
            turn = _Turn(found.session, found.parent, found.root, number, row)
        elif turn is None:
            problems.skip(found.place, "tool span before any LLM call of its session")
        else:
            turn.calls.append({"start_s": start_s, **found.row, "agent_session_id": found.agent})
    if turn is not None:
        yield from turn.records()
    if circular := store.circular():
        problems.note("spans whose parents form a circle: without a place in a tree", circular)


def _spans(member: Member, problems: Problems) -> Iterator[Any]:
    """The spans of a file, as JSON values: JSON Lines, or one document."""
    first = member.stream.readline(LINE_LIMIT_BYTES + 1)
    stream = cast(BinaryIO, io.BufferedReader(_Rejoined(first, member.stream)))
    opens = len(first) < _OPENING_BYTES and first.strip()[-1:] in (b"{", b"[", b",")
    if opens or len(first) > LINE_LIMIT_BYTES:
        yield from _document(Member(member.name, stream), problems)
        return
    for _, value in json_lines(Member(member.name, stream), problems):
        yield from _batch(value, problems)


def _document(member: Member, problems: Problems) -> Iterator[Any]:
    """The spans of one document, over many lines or in a line that is too long for memory."""
    import ijson  # type: ignore[import-untyped]  # in the train extra only

    number = 0
    try:
        for number, value in enumerate(ijson.items(member.stream, _SPANS, use_float=True, multiple_values=True), 1):
            problems.position = f"{member.name}: span {number}"
            yield value
    except (ijson.JSONError, UnicodeDecodeError):
        problems.skip(f"{member.name}: after span {number}", "not valid JSON")
        return
    if not number:
        problems.skip(member.name, "no export of spans: not an object with resourceSpans")


def _batch(value: Any, problems: Problems) -> Iterator[Any]:
    """The spans of one export."""
    if not isinstance(value, dict) or not isinstance(value.get("resourceSpans"), list):
        problems.skip(problems.position, "no export of spans: not an object with resourceSpans")
        return
    for resource in value["resourceSpans"]:
        for scope in _items(resource, "scopeSpans"):
            yield from _items(scope, "spans")


def _items(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


class _Rejoined(io.RawIOBase):
    """A stream behind its first bytes, which were read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        super().__init__()
        self._head = io.BytesIO(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head.read(len(buffer)) or self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
