"""Lines of a text file, with their numbers."""

import json
from collections.abc import Iterator
from typing import Any

from .members import Member
from .problems import Problems

LINE_LIMIT_BYTES = 64 << 20  # longer lines are skipped, so that a file without line ends cannot fill the memory
_BOM = b"\xef\xbb\xbf"


def text_lines(member: Member, problems: Problems) -> Iterator[tuple[int, str]]:
    """(line number from 1, stripped line) of every line that is not blank. Sets `problems.position`.

    Skips a line that is too long or not UTF-8 as a problem.
    """
    number = 0
    while line := member.stream.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        problems.position = f"{member.name}:{number}"
        if len(line) > LINE_LIMIT_BYTES:
            while not line.endswith(b"\n") and (line := member.stream.readline(LINE_LIMIT_BYTES)):
                pass
            problems.skip(problems.position, f"line longer than {LINE_LIMIT_BYTES >> 20} MiB")
            continue
        try:
            text = (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8").strip()
        except UnicodeDecodeError:
            problems.skip(problems.position, "not UTF-8")
            continue
        if text:
            yield number, text


def json_lines(member: Member, problems: Problems) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of a JSON Lines file. Skips a line that is not JSON as a problem."""
    for number, text in text_lines(member, problems):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            problems.skip(problems.position, "not valid JSON")
            continue
        yield number, value
