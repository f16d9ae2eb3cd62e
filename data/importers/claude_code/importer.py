"""Session files of Claude Code (JSON Lines): each conversation is a session, a sub-agent's a child session.

A session keeps its `sessionId`; a repeated id in a later file (another attempt) gets `:2`, `:3` …; sub-agents are
`ID/AGENT`, in older files `ID/agent-1` …. Compaction of a conversation does not end its session. The split group is the
session's id, or for files `TASK/attempt_N/…` the task's repository (`owner__name-123` is a task of `owner__name`).
Token counts are those of the usage. Output counts below half of the text's tokens (the first usage of a stream) are
replaced by the text's.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from ..contract import Context, Record
from ..reading.lines import json_lines
from ..reading.members import Member
from ..tasks import task_family
from .records import RecordError, read_entry
from .sessions import Session, SessionFiles, project_file

OPEN_SESSIONS = 64  # of one file, so that memory is bounded
_ATTEMPT = re.compile(r"(attempt|run|trial|seed)[_-]?\d+", re.IGNORECASE)


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    files = SessionFiles()
    for member in members:
        yield from _import_file(member, context, files)


def _import_file(member: Member, context: Context, files: SessionFiles) -> Iterator[Record]:
    sessions: OrderedDict[str, Session] = OrderedDict()
    file = PurePath(member.name)
    for _, value in json_lines(member, context.problems):
        try:
            entry = read_entry(value, context.problems)
        except RecordError as error:
            context.problems.skip(context.problems.position, str(error))
            continue
        if entry is None:
            continue
        key = entry.session or file.stem
        if key not in sessions:
            if len(sessions) == OPEN_SESSIONS:
                yield from sessions.popitem(last=False)[1].close()
            group = task_group(str(project_file(file, key))) or key
            sessions[key] = Session(files.name(key, file), group, context)
        sessions.move_to_end(key)
        yield from sessions[key].add(entry)
    for session in sessions.values():
        yield from session.close()


def task_group(name: str) -> str | None:
    """The repository of the task in a file's path; None where the path is not that of an attempt at a task."""
    folders = PurePath(name).parts[:-1]
    if len(folders) < 2 or not _ATTEMPT.fullmatch(folders[-1]):
        return None
    return task_family(folders[-2])
