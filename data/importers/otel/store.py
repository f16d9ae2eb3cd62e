"""Stores spans on disk until all are read, since they arrive in any order and a conversation may span many traces.

Memory is bounded by SQLite's page cache. The database is a temporary file in SQLite's directory (`SQLITE_TMPDIR`), of a
few hundred bytes a span; closing the connection removes it.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from .spans import Kind, Span

_CACHE_KIB = 64 << 10
_SPANS = """
CREATE TABLE spans (trace, span, parent, conversation, kind, start_ns, end_ns, row, place, PRIMARY KEY (trace, span))
"""
_INSERT = "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NAMES = "CREATE TABLE names AS SELECT trace, MIN(conversation) AS name FROM spans GROUP BY trace"
# A session is a conversation: the span's, or that of its trace, or else the trace itself.
# An LLM call within an LLM call (a client's span around its server's) is the same call, recorded twice.
_ORDERED = """
SELECT COALESCE(spans.conversation, names.name, spans.trace) AS session, spans.kind, spans.start_ns, spans.end_ns,
       spans.row, spans.place, outer.kind IS 'turn' AND spans.kind = 'turn'
FROM spans JOIN names ON names.trace = spans.trace
LEFT JOIN spans AS outer ON outer.trace = spans.trace AND outer.span = spans.parent
WHERE spans.kind <> 'other'
ORDER BY session, spans.start_ns, spans.kind DESC, spans.end_ns, spans.span
"""


class SpanStore:
    """A context manager; `add` spans in any order, then iterate `ordered` once."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # "": a temporary file, unlike ":memory:"

    def __enter__(self) -> Self:
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA temp_store = FILE")
        self._database.execute(_SPANS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, span: Span, place: str) -> bool:
        """False for a span that is stored already. `place` names it in a problem."""
        texts = (span.trace, span.span, span.parent, span.conversation)
        row = json.dumps(dict(span.row))
        values = (*map(_storable, texts), span.kind, span.start_ns, span.end_ns, row, _storable(place))
        cursor = self._database.execute(_INSERT, values)
        return cursor.rowcount == 1

    def ordered(self) -> Iterator[tuple[str, Kind, int, int, dict[str, Any], str, bool]]:
        """(session, kind, start, end, row, place, within an LLM call), by session and start; turns first."""
        self._database.execute(_NAMES)
        self._database.execute("CREATE UNIQUE INDEX names_trace ON names (trace)")
        with closing(self._database.execute(_ORDERED)) as cursor:
            for session, kind, start_ns, end_ns, row, place, inner in cursor:
                yield session, kind, start_ns, end_ns, json.loads(row), place, bool(inner)


def _storable(text: str | None) -> str | None:
    """The text with lone surrogates escaped, which JSON and file names allow and SQLite does not."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
