"""Azure's LLM inference traces (CSV): arrivals with context and generated tokens.

Columns TIMESTAMP (UTC, up to seven decimals), ContextTokens, GeneratedTokens; further ones are ignored. The trace has
no sessions, so each row is a session of one turn, named by its number in the import. The first token and the finish
are unknown.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from .contract import Context, Record
from .reading.lines import text_lines
from .reading.members import Member
from .reading.problems import ImportingError, Problems

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?")


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    number = 0
    for member in members:
        for cells in _cells(member, context.problems):
            try:
                arrival_s, prompt_tokens, output_tokens = timestamp_s(cells[0]), int(cells[1]), int(cells[2])
            except ValueError:
                context.problems.skip(context.problems.position, "not a timestamp and two whole numbers")
                continue
            yield (
                "turns",
                {
                    "session_id": f"request-{number}",
                    "turn": 0,
                    "arrival_s": arrival_s,
                    "prompt_tokens": prompt_tokens,
                    "output_tokens": output_tokens,
                },
            )
            number += 1


def timestamp_s(text: str) -> float:
    """Unix time of a timestamp; UTC where it has no offset. Raises ValueError."""
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        raise ValueError("no timestamp")
    whole, fraction, offset = match.groups()
    moment = datetime.fromisoformat(whole + (offset or ""))
    return (moment if offset else moment.replace(tzinfo=UTC)).timestamp() + float(fraction or 0.0)


def _cells(member: Member, problems: Problems) -> Iterator[tuple[str, str, str]]:
    """The three columns of each row. Raises ImportingError if the first line lacks one of them."""
    lines = csv.reader(text for _, text in text_lines(member, problems))
    header = [name.strip() for name in next(lines, [])]
    if missing := [name for name in _COLUMNS if name not in header]:
        raise ImportingError(f"{member.name}: no column {missing[0]!r} in its first line; it is not a trace of Azure's")
    if extra := len(header) - len(_COLUMNS):
        problems.note("columns other than timestamp and tokens", extra)
    places = [header.index(name) for name in _COLUMNS]
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error:
            problems.skip(problems.position, "not valid CSV")
            continue
        if len(cells) != len(header):
            problems.skip(problems.position, "not as many cells as columns")
            continue
        yield cells[places[0]], cells[places[1]], cells[places[2]]
