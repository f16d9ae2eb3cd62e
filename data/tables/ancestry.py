"""The ancestors of a session, by recorded parents, which may form a circle."""

from collections.abc import Mapping

SessionKey = tuple[str, str]  # source, session id


def lineage(
    session: SessionKey, parents: Mapping[SessionKey, SessionKey]
) -> tuple[list[SessionKey], SessionKey | None]:
    """The session and its ancestors, each once, and the ancestor at which a circle closes; None without a circle."""
    passed = {session: None}
    last = session
    while (parent := parents.get(last)) is not None:
        if parent in passed:
            return list(passed), parent
        passed[parent] = None
        last = parent
    return list(passed), None
