"""Which headers name a session, its sub-agent and its parent, by the families of clients that send them.

vLLM reads `X-Session-ID` alone. So the middleware passes on what any of these say as that header.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .hints import MAX_NAME


@dataclass(frozen=True, slots=True)
class Harness:
    """Names of headers in lower case. A sub-agent either has a session of its own and names its `parent`, or shares the
    session of all its ancestors and bears an `agent`; then `parent` names the agent that started it, if one did."""

    client: str
    session: str
    parent: str = ""
    agent: str = ""


SESSION_HEADER = "x-session-id"
PARENT_HEADER = "x-parent-session-id"
LAST_TURN_HEADER = "x-dynamo-session-final"
HARNESSES = (
    Harness("any", SESSION_HEADER, PARENT_HEADER),
    Harness("NVIDIA Dynamo", "x-dynamo-session-id", "x-dynamo-parent-session-id"),
    Harness("Claude Code", "x-claude-code-session-id", "x-claude-code-parent-agent-id", agent="x-claude-code-agent-id"),
    Harness("Codex", "thread-id", "x-codex-parent-thread-id"),
    Harness("DeepSeek Harness", "x-deepseek-harness-session-id", "x-deepseek-harness-parent-session-id"),
    Harness("OpenCode", "x-opencode-session", PARENT_HEADER),
    Harness("OpenCode, other providers", "x-session-affinity", PARENT_HEADER),
)
"""The first one whose session header a request bears holds."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Empty: not named."""

    session: str = ""
    parent: str = ""
    ends: bool = False
    """The client says that its session ends with this request."""


def identity_of(headers: Iterable[tuple[bytes, bytes]], own: Iterable[Harness] = ()) -> Identity:
    """The session and the parent that a request's headers name. `own`: those of the operator, which come first.

    An id that is longer than the scheduler reads names nothing.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    named = {name: value for name, value in values.items() if 0 < len(value) <= MAX_NAME}
    ends = named.get(LAST_TURN_HEADER, "").lower() in ("true", "1")
    for harness in (*own, *HARNESSES):
        if session := named.get(harness.session):
            parent = named.get(harness.parent, "")
            if harness.agent:
                session, parent = _in_tree(session, named.get(harness.agent, ""), parent)
            return Identity(session, "" if parent == session else parent, ends)
    return Identity("", named.get(PARENT_HEADER, ""), ends)


def _in_tree(root: str, agent: str, parent_agent: str) -> tuple[str, str]:
    """The sessions of an agent and of its parent, where all agents of a tree bear the session of its `root`."""
    if not agent:
        return root, ""
    return f"{root}/{agent}"[:MAX_NAME], f"{root}/{parent_agent}"[:MAX_NAME] if parent_agent else root


def own_harnesses(scope: Mapping[str, Any]) -> tuple[Harness, ...]:
    """Those of `session_headers` in the deployment of the server that serves an ASGI scope."""
    arguments = getattr(getattr(scope.get("app"), "state", None), "args", None)
    config = getattr(arguments, "additional_config", None)
    section = config.get("augserve") if isinstance(config, Mapping) else None
    headers = section.get("session_headers") if isinstance(section, Mapping) else None
    if not isinstance(headers, Mapping):
        return ()
    return tuple(Harness("own", str(session).lower(), str(parent).lower()) for session, parent in headers.items())
