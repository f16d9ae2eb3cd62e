"""Stores spans on disk until all are read, since they arrive in any order and a conversation may span many traces.

Memory is bounded by SQLite's page cache. The database is a temporary file in SQLite's directory (`SQLITE_TMPDIR`), of a
few hundred bytes a span; closing the connection removes it.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, NamedTuple, Self

from .places import inner_place, outermost_place
from .spans import Kind, Span

_CACHE_KIB = 64 << 10
_SPANS = """
CREATE TABLE spans (trace, span, parent, conversation, kind, start_ns, end_ns, row, place, PRIMARY KEY (trace, span))
"""
_INSERT = "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NAMES = "CREATE TABLE names AS SELECT trace, MIN(conversation) AS name FROM spans GROUP BY trace"
# The place of each span in the tree of sessions, from a trace's outermost spans inwards. A session is a conversation:
# the span's, or that of its trace, or else the trace itself.
_WALKED = """
CREATE TABLE walked AS WITH RECURSIVE walk (trace, span, kind, place) AS (
  SELECT spans.trace, span, kind, outermost_place(kind, conversation, COALESCE(name, spans.trace), span)
  FROM spans JOIN names ON names.trace = spans.trace
  WHERE parent IS NULL OR (spans.trace, parent) NOT IN (SELECT trace, span FROM spans)
  UNION ALL
  SELECT spans.trace, spans.span, spans.kind, inner_place(walk.place, spans.kind, conversation, spans.span)
  FROM walk JOIN spans ON spans.trace = walk.trace AND spans.parent = walk.span
)
SELECT trace, span, kind, json_extract(place, '$.session') AS session, json_extract(place, '$.root') AS root,
       json_extract(place, '$.parent') AS parent_session, json_extract(place, '$.begins') AS begins,
       json_extract(place, '$.caller') AS caller
FROM walk
"""
# A tool's span runs the first sub-agent that begins in it.
_LINKS = """
CREATE TABLE links AS SELECT walked.trace, caller, walked.span, session, MIN(start_ns) AS start_ns
FROM walked JOIN spans ON spans.trace = walked.trace AND spans.span = walked.span
WHERE caller IS NOT NULL GROUP BY walked.trace, caller
"""
_PARENTS = """
CREATE TABLE parents AS SELECT session, MIN(parent_session) AS parent, MIN(root) AS root
FROM walked WHERE parent_session IS NOT NULL AND kind = 'turn' GROUP BY session
"""
_PREPARATION = (
    "CREATE INDEX spans_parent ON spans (trace, parent)",
    _NAMES,
    "CREATE UNIQUE INDEX names_trace ON names (trace)",
    _WALKED,
    "CREATE INDEX walked_span ON walked (trace, span)",
    _LINKS,
    "CREATE INDEX links_caller ON links (trace, caller)",
    "CREATE INDEX links_span ON links (trace, span)",
    _PARENTS,
    "CREATE UNIQUE INDEX parents_session ON parents (session)",
)
# An LLM call within an LLM call (a client's span around its server's) is the same call, recorded twice.
# An agent's span that no tool's span runs is a call of the session around it.
_ORDERED = """
SELECT found.*, parents.parent, parents.root FROM (
  SELECT COALESCE(walked.session, spans.conversation, name, spans.trace) AS session, spans.kind, spans.start_ns,
         spans.end_ns, spans.row, spans.place, outer.kind IS 'turn' AND spans.kind = 'turn' AS inner,
         links.session AS agent, spans.span
  FROM spans JOIN names ON names.trace = spans.trace
  LEFT JOIN walked ON walked.trace = spans.trace AND walked.span = spans.span
  LEFT JOIN links ON links.trace = spans.trace AND links.caller = spans.span
  LEFT JOIN spans AS outer ON outer.trace = spans.trace AND outer.span = spans.parent
  WHERE spans.kind IN ('turn', 'call')
  UNION ALL
  SELECT parent_session, 'call', start_ns, end_ns, row, place, 0, session, spans.span
  FROM walked JOIN spans ON spans.trace = walked.trace AND spans.span = walked.span
  WHERE begins AND spans.kind = 'agent' AND (walked.trace, walked.span) NOT IN (SELECT trace, span FROM links)
) AS found LEFT JOIN parents ON parents.session = found.session
ORDER BY found.session, found.start_ns, found.kind DESC, found.end_ns, found.span
"""


class StoredRow(NamedTuple):
    session: str
    kind: Kind
    start_ns: int
    end_ns: int
    row: dict[str, Any]
    place: str
    inner: bool  # an LLM call within an LLM call
    agent: str | None  # of a call: the session of the sub-agent that it runs
    parent: str | None  # of the session
    root: str | None  # of the session's tree, where it has a parent


class SpanStore:
    """A context manager; `add` spans in any order, then iterate `ordered` once."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # "": a temporary file, unlike ":memory:"

    def __enter__(self) -> Self:
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA temp_store = FILE")
        self._database.execute(_SPANS)
        self._database.create_function("outermost_place", 4, outermost_place, deterministic=True)
        self._database.create_function("inner_place", 4, inner_place, deterministic=True)
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

    def ordered(self) -> Iterator[StoredRow]:
        """Turns and calls by session and start; turns first."""
        for statement in _PREPARATION:
            self._database.execute(statement)
        with closing(self._database.execute(_ORDERED)) as cursor:
            for session, kind, start_ns, end_ns, row, place, inner, agent, _, parent, root in cursor:
                yield StoredRow(
                    session, kind, start_ns, end_ns, json.loads(row), place, bool(inner), agent, parent, root
                )

    def circular(self) -> int:
        """Spans whose parents form a circle; to be asked after `ordered`."""
        query = "SELECT (SELECT COUNT(*) FROM spans) - (SELECT COUNT(*) FROM walked)"
        return int(self._database.execute(query).fetchone()[0])


def _storable(text: str | None) -> str | None:
    """The text with lone surrogates escaped, which JSON and file names allow and SQLite does not."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
