"""Looks a waiting turn's cached tokens up again: the prefix cache changes while it waits."""

from ..vllm_compat import KvCache, Request
from .value import Column, Floats


def look_up(columns: Floats, slot: int, request: Request, kv_cache: KvCache) -> float:
    """Note how many tokens of the turn in `slot` are uncached now, and return them."""
    tokens, uncached = columns.item(Column.TOKENS, slot), columns.item(Column.UNCACHED_TOKENS, slot)
    uncached = tokens - kv_cache.cached_tokens(request, int(tokens - uncached))
    columns[Column.UNCACHED_TOKENS, slot] = uncached
    return uncached
