"""A session of Claude Code: its conversation, and those of its sub-agents."""

from collections.abc import Iterator
from pathlib import PurePath

from ..contract import Context, Record, SessionNames
from .records import Entry
from .turns import Call, Conversation

_AGENT_FILE = "agent-"
_AGENT_FOLDER = "subagents"


class Session:
    """The records of one session id in one file, in the file's order.

    Newer files name a sub-agent's id, in its own records and in the call's result. Otherwise a sub-agent begins with
    its call's prompt, and its records lead back to the first by their parents.
    """

    def __init__(self, session_id: str, group: str, context: Context) -> None:
        self._session_id = session_id
        self._group = group
        self._context = context
        self._main = Conversation(session_id, None, None, group, context)
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
            self._agents[name] = self._new_agent(name, entry)
        return self._agents[name]

    def _new_agent(self, name: str, first: Entry) -> Conversation:
        caller, call = self._caller(first)
        parent = self._session_id if caller is None else caller.session_id
        agent = Conversation(self._session_id, name, parent, self._group, self._context)
        if call is not None:
            call.agent = agent.session_id
        elif first.agent is None:
            self._context.problems.note("sub-agents whose call is not known")
        return agent

    def _caller(self, first: Entry) -> tuple[Conversation, Call] | tuple[None, None]:
        """The open call with the sub-agent's first text as its prompt; the only open one where none has it."""
        open_calls = [
            (conversation, call)
            for conversation in (self._main, *self._agents.values())
            for call in conversation.calls_of_agents()
        ]
        prompted = [(by, call) for by, call in open_calls if call.use.arguments.get("prompt") == first.text]
        if prompted:
            return prompted[0]
        return open_calls[0] if len(open_calls) == 1 else (None, None)


class SessionFiles:
    """Names sessions, and finds the session that a sub-agent's own file belongs to.

    Newer releases write `agent-ID.jsonl` beside the session's file, or in its folder `SESSION/subagents`. Either file
    may come first. Memory holds each session's name and folder.
    """

    def __init__(self) -> None:
        self._names = SessionNames()
        self._named: dict[tuple[PurePath, str], str] = {}
        self._awaited: set[tuple[PurePath, str]] = set()  # named for a sub-agent, without a file of their own so far

    def name(self, session: str, file: PurePath) -> str:
        """A name for the session, unique among files other than those of its sub-agents."""
        key = (project_file(file, session).parent, session)
        if file.name.startswith(_AGENT_FILE):
            if key not in self._named:
                self._named[key] = self._names.unique(session)
                self._awaited.add(key)
            return self._named[key]
        if key in self._awaited:
            self._awaited.remove(key)
            return self._named[key]
        name = self._names.unique(session)
        self._named.setdefault(key, name)
        return name


def project_file(file: PurePath, session: str) -> PurePath:
    """The path that a session's file has, or a sub-agent's file beside it."""
    folder = file.parent
    if folder.name == _AGENT_FOLDER:
        folder = folder.parent
        folder = folder.parent if folder.name == session else folder
    return folder / file.name
