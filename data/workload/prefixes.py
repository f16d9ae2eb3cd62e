"""A session's prompt as prefixes that other sessions may share."""

from .model import Session, SharedPrefix

Prefixes = tuple[SharedPrefix, ...]


def prompt_prefixes(session: Session, turn: int) -> Prefixes:
    """The whole prompt of a turn."""
    prefixes, first = session.shared, 0
    ends: list[int] = []
    context = 0
    for number, (past, prompt) in enumerate(zip(session.turns[: turn + 1], session.prompt_lengths(), strict=False)):
        if number and past.kept_tokens is not None:
            whole = (*prefixes, SharedPrefix(session.stream(first), context, tuple(ends)))
            prefixes, first, ends = cut(whole, past.kept_tokens), number, []
        if number == turn:
            prefixes = (*prefixes, SharedPrefix(session.stream(first), prompt, tuple(ends)))
        context = prompt + past.output_tokens
        ends.append(context)
    return prefixes


def cut(prefixes: Prefixes, tokens: int) -> Prefixes:
    """The first `tokens` tokens of a prompt."""
    kept: list[SharedPrefix] = []
    for prefix in prefixes:
        if not kept or kept[-1].tokens < tokens:
            ends = tuple(end for end in prefix.output_ends if end <= tokens)
            kept.append(SharedPrefix(prefix.stream, min(prefix.tokens, tokens), ends))
    return tuple(kept)
