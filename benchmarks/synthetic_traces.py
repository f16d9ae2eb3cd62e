"""Deterministic lines of synthetic traces for the benchmark `import`."""

import json
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS = 20  # of a session
_APART_S = 40  # so that ten sessions are open at once
_TEXT = "what the tool printed, line by line " * 80  # a few KB, like real results


def mooncake_lines(number: int) -> bytes:
    """One request with a hundred block hashes: about 0.8 KB."""
    blocks = list(range(number * 100, number * 100 + 100))
    value = {"timestamp": number * 100, "input_length": 51_200, "output_length": 300, "hash_ids": blocks}
    return json.dumps(value).encode() + b"\n"


def claude_code_lines(number: int) -> bytes:
    """One session of turns that call a tool, with the results: about 0.1 MB."""
    at = _START + timedelta(seconds=_APART_S * number)
    session = f"session-{number}"
    records: list[dict[str, object]] = [_record(session, at, "u", None, "user", "mend the test")]
    for turn in range(_TURNS):
        call = f"call-{number}-{turn}"
        used = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": "pytest -q", "description": _TEXT}}
        result = {"type": "tool_result", "tool_use_id": call, "content": _TEXT}
        called, returned = at + timedelta(seconds=20 * turn + 5), at + timedelta(seconds=20 * turn + 9)
        records.append(_record(session, called, f"a{turn}", "u" if not turn else f"r{turn - 1}", "assistant", [used]))
        records.append(_record(session, returned, f"r{turn}", f"a{turn}", "user", [result]))
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _record(session: str, at: datetime, name: str, parent: str | None, role: str, content: object) -> dict[str, object]:
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message: dict[str, object] = {"role": role, "content": content}
    if role == "assistant":
        message |= {"id": f"{session}-{name}", "model": "m", "usage": {"input_tokens": 900, "output_tokens": 90}}
    return {
        "type": role,
        "sessionId": session,
        "uuid": f"{session}-{name}",
        "parentUuid": parent and f"{session}-{parent}",
        "timestamp": stamp,
        "message": message,
    }
