"""Sessions shortened for a small model on a processor."""

import dataclasses

from augserve.data.workload.model import Session, SharedPrefix, ToolCall, Turn


def shortened(session: Session, token_scale: float, time_scale: float) -> Session:
    """The session and its sub-agents with scaled lengths and times; no length becomes 0."""

    def tokens(count: int) -> int:
        return max(1, round(count * token_scale))

    def call(facts: ToolCall) -> ToolCall:
        agent = None if facts.agent is None else shortened(facts.agent, token_scale, time_scale)
        return ToolCall(facts.tool, facts.duration_s * time_scale, tokens(facts.result_tokens), agent)

    turns: list[Turn] = []
    context = 0
    for turn in session.turns:
        # Rounded lengths of a context's parts may add up to less than its own rounded length.
        kept = None if turn.kept_tokens is None else min(tokens(turn.kept_tokens), context)
        short = Turn(tokens(turn.new_tokens), tokens(turn.output_tokens), tuple(map(call, turn.calls)), kept)
        context = (context if kept is None else kept) + short.new_tokens + short.output_tokens
        turns.append(short)
    return dataclasses.replace(
        session,
        arrival_s=session.arrival_s * time_scale,
        turns=tuple(turns),
        max_tokens=tokens(session.max_tokens),
        shared=tuple(SharedPrefix(prefix.stream, tokens(prefix.tokens)) for prefix in session.shared),
    )
