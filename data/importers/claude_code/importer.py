"""Session files of Claude Code (JSON Lines): each conversation, a sub-agent's too, is a session.

A session keeps its `sessionId`; a repeated id in a later file (another attempt) gets `:2`, `:3` …; sub-agents are
`ID/agent-1` …. The split group is the session's id, or for files `TASK/attempt_N/…` the task's repository
(`owner__name-123` is a task of `owner__name`). Token counts are those of the usage. Output counts below half of the
text's tokens (the first usage of a stream) are replaced by the text's.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from ..contract import Context, Record, SessionNames
from ..reading.lines import json_lines
from ..reading.members import Member
from .records import Entry, RecordError, read_entry
from .turns import Conversation

OPEN_SESSIONS = 64  # of one file, so that memory is bounded
_ATTEMPT = re.compile(r"(attempt|run|trial|seed)[_-]?\d+", re.IGNORECASE)
_TASK = re.compile(r"(\S+__\S+)-\d+")


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    names = SessionNames()
    for member in members:
        yield from _import_file(member, context, names)


def _import_file(member: Member, context: Context, names: SessionNames) -> Iterator[Record]:
    sessions: OrderedDict[str, _Session] = OrderedDict()
    for _, value in json_lines(member, context.problems):
        try:
            entry = read_entry(value, context.problems)
        except RecordError as error:
            context.problems.skip(context.problems.position, str(error))
            continue
        if entry is None:
            continue
        key = entry.session or PurePath(member.name).stem
        if key not in sessions:
            if len(sessions) == OPEN_SESSIONS:
                yield from sessions.popitem(last=False)[1].close()
            sessions[key] = _Session(names.unique(key), task_group(member.name) or key, context)
        sessions.move_to_end(key)
        yield from sessions[key].add(entry)
    for session in sessions.values():
        yield from session.close()


def task_group(name: str) -> str | None:
    """The repository of the task in a file's path; None where the path is not that of an attempt at a task."""
    folders = PurePath(name).parts[:-1]
    if len(folders) < 2 or not _ATTEMPT.fullmatch(folders[-1]):
        return None
    task = _TASK.fullmatch(folders[-2])
    return task[1] if task else folders[-2]


class _Session:
    """A session of a file: its conversation and those of its sub-agents."""

    def __init__(self, session_id: str, group: str, context: Context) -> None:
        self._session_id = session_id
        self._group = group
        self._context = context
        self._main = Conversation(session_id, self._group, context)
        self._agents: dict[str, Conversation] = {}
        self._agent_of: dict[str, str] = {}  # record → the sub-agent that it belongs to
        self._records: set[str] = set()

    def add(self, entry: Entry) -> Iterator[Record]:
        if entry.uuid in self._records:
            self._context.problems.skip(self._context.problems.position, "record of the same uuid as an earlier one")
            return
        if entry.uuid is not None:
            self._records.add(entry.uuid)
        yield from (self._agent(entry) if entry.sidechain else self._main).add(entry)

    def close(self) -> Iterator[Record]:
        yield from self._main.close()
        for agent in self._agents.values():
            yield from agent.close()

    def _agent(self, entry: Entry) -> Conversation:
        """The named sub-agent, or that of the record's parent, or a new one."""
        name = entry.agent or self._agent_of.get(entry.parent or "") or f"agent-{len(self._agents) + 1}"
        if entry.uuid is not None:
            self._agent_of[entry.uuid] = name
        if name not in self._agents:
            self._agents[name] = Conversation(f"{self._session_id}/{name}", self._group, self._context)
        return self._agents[name]
