"""Copies of a session for a load that runs it more than once."""

import dataclasses

from .model import Session, SharedPrefix


def copied(session: Session, copy: int) -> Session:
    """Copy number `copy` of a session and its sub-agents, under other ids and so with other tokens; 0: the session.

    Copies share the prefixes that the session shares with others.
    """
    if not copy:
        return session
    suffix = f"~{copy}"
    return _renamed(session, suffix, {own.session_id for own in session.tree()})


def _renamed(session: Session, suffix: str, own: set[str]) -> Session:
    def stream(prefix: SharedPrefix) -> SharedPrefix:
        session_id, mark, context = prefix.stream.partition("|")
        return dataclasses.replace(prefix, stream=session_id + suffix + mark + context) if session_id in own else prefix

    turns = []
    for turn in session.turns:
        if any(call.agent is not None for call in turn.calls):
            calls = tuple(
                dataclasses.replace(call, agent=None if call.agent is None else _renamed(call.agent, suffix, own))
                for call in turn.calls
            )
            turn = dataclasses.replace(turn, calls=calls)
        turns.append(turn)
    return dataclasses.replace(
        session,
        session_id=session.session_id + suffix,
        turns=tuple(turns),
        shared=tuple(stream(prefix) for prefix in session.shared),
    )
