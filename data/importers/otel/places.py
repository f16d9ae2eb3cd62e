"""The place of a span in the tree of sessions, from that of the span around it."""

import json
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True)
class Place:
    session: str
    root: str  # the session of the tree's root
    conversation: str | None  # of the span, or of the nearest around it
    parent: str | None = None  # the session around a sub-agent's
    call: str | None = None  # the nearest tool's span around, within the session
    inside: bool = False  # within a tool's or an agent's span
    begins: bool = False  # a sub-agent begins with this span
    caller: str | None = None  # of a span that begins a sub-agent: the tool's span that runs it

    def within(self, kind: str, conversation: str | None, span: str) -> "Place":
        """The place of a span within this one.

        A sub-agent begins within a tool's or an agent's span: with an agent's span, or with another conversation.
        """
        inner = self._inner(kind, conversation, span)
        inner = replace(inner, conversation=conversation or self.conversation)
        return _entered(inner, kind, span)

    def _inner(self, kind: str, conversation: str | None, span: str) -> "Place":
        other = conversation is not None and conversation not in (self.conversation, self.session)
        if self.inside and (kind == "agent" or (other and self.conversation is not None)):
            session = conversation if conversation is not None and other else f"{self.session}/{span}"
            return replace(self, session=session, parent=self.session, call=None, begins=True, caller=self.call)
        if other and conversation is not None:
            return Place(conversation, conversation, conversation, inside=self.inside)
        return replace(self, begins=False, caller=None)


def outermost_place(kind: str, conversation: str | None, name: str, span: str) -> str:
    """JSON of the place of a span with none around it; `name`: the session where the span has no conversation."""
    session = conversation or name
    return json.dumps(asdict(_entered(Place(session, session, conversation), kind, span)))


def inner_place(around: str, kind: str, conversation: str | None, span: str) -> str:
    """JSON of the place of a span within a span whose place is `around`."""
    return json.dumps(asdict(Place(**json.loads(around)).within(kind, conversation, span)))


def _entered(place: Place, kind: str, span: str) -> Place:
    """The place for what is within the span."""
    if kind not in ("call", "agent"):
        return place
    return replace(place, inside=True, call=span if kind == "call" else place.call)
