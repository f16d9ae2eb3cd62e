"""The recorded end of a prompt's text."""

from ..tables.prompt_tail import TAIL_TOKENS, tail_counts
from .contract import TokenCounter

_CHARACTERS = 1000  # hold the tail's tokens, unless they are longer than 20 characters on average


def text_tail_counts(text: str, tokens: TokenCounter) -> list[int] | None:
    """`tail_counts` of a prompt that ends with `text`; None without text or without exact tokens."""
    if not text or not tokens.exact:
        return None
    ids = tokens.ids(text[-_CHARACTERS:])
    if len(ids) < TAIL_TOKENS and len(text) > _CHARACTERS:
        ids = tokens.ids(text)
    return tail_counts(ids) if ids else None
