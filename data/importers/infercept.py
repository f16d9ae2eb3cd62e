"""The six-augmentation workload of InferCept and MARS: one JSON object of session id -> [segment, …].

A segment is a turn; its `api_time` (s) is the tool call after it. Half of the sessions have text in place of counts,
which is tokenized. The importer adds:

- The tool. In a file of the published shape (397 sessions, text in those of chatbot, tts and image) the session's place
  identifies it; otherwise it is "unknown". In tts and image every second call is the user typing, as in chatbot. These
  pauses are a formula of the message's length: their `timing` is "modelled".
- Times. Sessions follow each other from 0, with output tokens at a nominal pace, so that the calls of a tool are in the
  file's order and no session waits for another. Only the tool times are measured.
- Split groups. Chatbot, tts and image run the same conversations: sessions of text with the same beginning share one.

A session with a malformed segment is skipped as a whole, since the turns after the gap would have a wrong history.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

from ..tables.prompt_tail import tail_counts
from ..workload.steady_state import NOMINAL_TOKEN_S
from .contract import Context, Record
from .reading.members import Member

_KINDS = (("math", 98), ("chatbot", 163), ("qa", 213), ("tts", 278), ("ve", 332), ("image", 397))  # kind, end
_WITH_TEXT = ("chatbot", "tts", "image")
_SESSIONS = _KINDS[-1][1]
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class _Segment:
    prompt_tokens: int
    output_tokens: int
    api_s: float | None
    result_tokens: int | None
    tail_counts: Sequence[int] | None


@dataclass(frozen=True, slots=True)
class _Session:
    session_id: str
    segments: tuple[_Segment, ...]
    group: str | None  # of its conversation, where it carries text
    position: str


class _MalformedError(ValueError):
    """A session cannot be used; the message is the cause."""


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    start_s = 0.0
    for member in members:
        for session, kind in _with_kinds(_sessions(member, context)):
            context.problems.position = session.position
            for name, row in _rows(session, kind, start_s):
                start_s = max(start_s, _end_s(row))
                yield name, row


def _end_s(row: Mapping[str, Any]) -> float:
    return float(row["finish_s"] if "finish_s" in row else row["start_s"] + row["duration_s"])


def _with_kinds(sessions: Iterator[_Session | None]) -> Iterator[tuple[_Session, str]]:
    """Each session with its kind. A malformed session is None in `sessions`, and counts as a place in the file.

    The first 397 sessions wait until it is clear whether this is the published file.
    """
    held = list(islice(sessions, _SESSIONS + 1))
    kinds = [_UNKNOWN] * len(held)
    if len(held) == _SESSIONS and all(
        session is None or (session.group is not None) == (_kind_at(place) in _WITH_TEXT)
        for place, session in enumerate(held)
    ):
        kinds = [_kind_at(place) for place in range(_SESSIONS)]
    for session, kind in chain(zip(held, kinds, strict=True), zip(sessions, repeat(_UNKNOWN), strict=False)):
        if session is not None:
            yield session, kind


def _kind_at(place: int) -> str:
    return next(kind for kind, end in _KINDS if place < end)


def _sessions(member: Member, context: Context) -> Iterator[_Session | None]:
    import ijson  # type: ignore[import-untyped]  # in the train extra only

    problems = context.problems
    problems.position = member.name
    try:
        for session_id, segments in ijson.kvitems(member.stream, "", use_float=True):
            problems.position = f"{member.name}: session {session_id!r}"
            try:
                yield _session(session_id, segments, problems.position, context)
            except _MalformedError as error:
                problems.skip(problems.position, str(error))
                yield None
    except (ijson.JSONError, UnicodeDecodeError):
        problems.skip(f"after {problems.position}", "not valid JSON: the rest of the file")


def _session(session_id: str, segments: Any, position: str, context: Context) -> _Session:
    if not isinstance(segments, list) or not segments or not all(isinstance(part, dict) for part in segments):
        raise _MalformedError("not a list of segments")
    first = segments[0].get("prompt")
    group = None
    if isinstance(first, str):
        group = "conversation-" + hashlib.sha256(first.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return _Session(session_id, tuple(_segment(part, context) for part in segments), group, position)


def _segment(part: Mapping[str, Any], context: Context) -> _Segment:
    api_s = part.get("api_time")
    if api_s is not None and (isinstance(api_s, bool) or not isinstance(api_s, int | float)):
        raise _MalformedError("an api_time that is no number")
    if api_s is not None and api_s < 0:
        raise _MalformedError("negative duration (api_time)")
    tail = None
    if isinstance(part.get("prompt"), str):
        ids = context.tokens.ids(part["prompt"]) if context.tokens.exact else []
        prompt_tokens = len(ids) if context.tokens.exact else context.tokens.count(part["prompt"])
        tail = tail_counts(ids) if ids else None
    else:
        prompt_tokens = _count(part, "prompt_tokens")
    output_tokens = _tokens(part, "completion", "completion_tokens", context)
    result_tokens = None if api_s is None else _result_tokens(part, context)
    return _Segment(prompt_tokens, output_tokens, api_s, result_tokens, tail)


def _tokens(part: Mapping[str, Any], text: str, count: str, context: Context) -> int:
    return context.tokens.count(part[text]) if isinstance(part.get(text), str) else _count(part, count)


def _result_tokens(part: Mapping[str, Any], context: Context) -> int | None:
    """Length of the tool's result. The published file has negative ones, where a context was full: unknown."""
    length = part.get("api_token_length")
    if isinstance(length, int) and length < 0:
        context.problems.note("results of negative length (api_token_length): taken as not known")
        return None
    known = isinstance(part.get("api_token"), str) or length is not None
    return _tokens(part, "api_token", "api_token_length", context) if known else None


def _count(part: Mapping[str, Any], name: str) -> int:
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _MalformedError(f"no {name} as a number, and no text to count")
    return value


def _rows(session: _Session, kind: str, start_s: float) -> Iterator[Record]:
    arrival_s = start_s
    for turn, segment in enumerate(session.segments):
        finish_s = arrival_s + NOMINAL_TOKEN_S * segment.output_tokens
        # In tts and image the odd calls are the chat's.
        tool = "chatbot" if kind in _WITH_TEXT and turn % 2 else kind
        yield (
            "turns",
            {
                "session_id": session.session_id,
                "turn": turn,
                "split_group": session.group,
                "arrival_s": arrival_s,
                "finish_s": finish_s,
                "prompt_tokens": segment.prompt_tokens,
                "output_tokens": segment.output_tokens,
                "tool_called": None if segment.api_s is None else tool,
                "tail_counts": segment.tail_counts,
            },
        )
        arrival_s = finish_s
        if segment.api_s is not None:
            yield (
                "tool_calls",
                {
                    "session_id": session.session_id,
                    "turn": turn,
                    "call": 0,
                    "tool": tool,
                    "start_s": finish_s,
                    "duration_s": segment.api_s,
                    "timing": "modelled" if tool == "chatbot" else "call",
                    "result_tokens": segment.result_tokens,
                },
            )
            arrival_s += segment.api_s
