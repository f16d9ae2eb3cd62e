"""Which headers name a session, its sub-agent and its parent, by the families of clients that send them.

vLLM reads `X-Session-ID` alone. So the middleware passes on what any of these say as that header.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .hints import MAX_NAME


@dataclass(frozen=True, slots=True)
class Harness:
    """Names of headers in lower case. A sub-agent either has a session of its own and names its `parent`, or shares its
    parent's session and bears an `agent`."""

    client: str
    session: str
    parent: str = ""
    agent: str = ""


SESSION_HEADER = "x-session-id"
PARENT_HEADER = "x-parent-session-id"
HARNESSES = (
    Harness("any", SESSION_HEADER, PARENT_HEADER),
    Harness("NVIDIA Dynamo", "x-dynamo-session-id", "x-dynamo-parent-session-id"),
    Harness("Claude Code", "x-claude-code-session-id", agent="x-claude-code-agent-id"),
    Harness("OpenCode", "x-opencode-session", PARENT_HEADER),
    Harness("OpenCode, other providers", "x-session-affinity", PARENT_HEADER),
)
"""The first one whose session header a request bears holds."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Empty: not named."""

    session: str = ""
    parent: str = ""


def identity_of(headers: Iterable[tuple[bytes, bytes]], own: Iterable[Harness] = ()) -> Identity:
    """The session and the parent that a request's headers name. `own`: those of the operator, which come first.

    An id that is longer than the scheduler reads names nothing.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    named = {name: value for name, value in values.items() if 0 < len(value) <= MAX_NAME}
    for harness in (*own, *HARNESSES):
        if session := named.get(harness.session):
            if agent := named.get(harness.agent):
                return Identity(f"{session}/{agent}"[:MAX_NAME], session)
            parent = named.get(harness.parent, "")
            return Identity(session, "" if parent == session else parent)
    return Identity("", named.get(PARENT_HEADER, ""))


def own_harnesses(scope: Mapping[str, Any]) -> tuple[Harness, ...]:
    """Those of `session_headers` in the deployment of the server that serves an ASGI scope."""
    arguments = getattr(getattr(scope.get("app"), "state", None), "args", None)
    config = getattr(arguments, "additional_config", None)
    section = config.get("augserve") if isinstance(config, Mapping) else None
    headers = section.get("session_headers") if isinstance(section, Mapping) else None
    if not isinstance(headers, Mapping):
        return ()
    return tuple(Harness("own", str(session).lower(), str(parent).lower()) for session, parent in headers.items())
