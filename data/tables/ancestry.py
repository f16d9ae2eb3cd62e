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


def root(session: SessionKey, parents: Mapping[SessionKey, SessionKey]) -> SessionKey:
    """The last ancestor; of sessions in a circle the least, so that they share a root."""
    passed, closes = lineage(session, parents)
    return passed[-1] if closes is None else min(passed[passed.index(closes) :])
