"""The recorded end of a prompt: counts of hashed n-grams, never its tokens."""

from collections.abc import Sequence

import numpy as np

TAIL_TOKENS = 48
TAIL_BUCKETS = 32
_UNIGRAM = np.uint32(2654435761)
_BIGRAM = np.uint32(2246822519)
_SHIFT = np.uint32(32 - (TAIL_BUCKETS - 1).bit_length())


def tail_counts(token_ids: Sequence[int]) -> list[int]:
    """Counts of the hashed uni- and bigrams of a prompt's last TAIL_TOKENS tokens, of length TAIL_BUCKETS.

    The hash is multiplicative (Knuth's constant) modulo 2^32; its upper five bits are the bucket.
    """
    ids = np.array(token_ids[-TAIL_TOKENS:], np.uint32)
    if not len(ids):
        return [0] * TAIL_BUCKETS
    hashes = np.empty(2 * len(ids) - 1, np.uint32)
    np.multiply(ids, _UNIGRAM, out=hashes[: len(ids)])
    np.add(hashes[: len(ids) - 1], ids[1:] * _BIGRAM, out=hashes[len(ids) :])
    counts: list[int] = np.bincount(hashes >> _SHIFT, minlength=TAIL_BUCKETS).tolist()
    return counts
