"""Digests of token prefixes, by which turns are recognised."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

OWN_BLOCK_TOKENS = 256
DIGEST_BYTES = 16


@dataclass(slots=True)
class Prefix:
    """The first `length` token ids and the chained hashes of their full blocks.

    A chained hash identifies all tokens up to its block's end. `hashes` are vLLM's own, which also depend on the LoRA,
    images and the cache salt, or those of `own_hashes`; there may be more than `length` needs. `salt` distinguishes
    requests of equal tokens that fill no block.
    """

    token_ids: Sequence[int]
    hashes: Sequence[bytes]
    block_tokens: int
    length: int
    salt: str = ""
    _digests: dict[int, bytes] = field(default_factory=dict)

    def anchor(self, length: int) -> bytes:
        """Hash of the last full block within the first `length` tokens; empty if there is none."""
        block = length // self.block_tokens
        return self.hashes[block - 1] if block else b""

    def digest(self, length: int) -> bytes:
        """Digest of exactly the first `length` tokens, 16 bytes."""
        digest = self._digests.get(length)
        if digest is None:
            rest = self.token_ids[length - length % self.block_tokens : length]
            digest = hashlib.blake2b(
                _text(self.salt) + self.anchor(length) + _bytes(rest), digest_size=DIGEST_BYTES
            ).digest()
            self._digests[length] = digest
        return digest


def own_hashes(token_ids: Sequence[int], salt: str, known: Sequence[bytes] = ()) -> list[bytes]:
    """Chained hashes of blocks of OWN_BLOCK_TOKENS, for requests that vLLM does not hash.

    `known`: the first hashes, if computed before. `salt` distinguishes requests of equal tokens. 100,000 tokens take
    about 3 ms.
    """
    hashes = list(known)
    chained = hashes[-1] if hashes else _text(salt)
    for start in range(len(hashes) * OWN_BLOCK_TOKENS, len(token_ids) - OWN_BLOCK_TOKENS + 1, OWN_BLOCK_TOKENS):
        block = _bytes(token_ids[start : start + OWN_BLOCK_TOKENS])
        chained = hashlib.blake2b(chained + block, digest_size=DIGEST_BYTES).digest()
        hashes.append(chained)
    return hashes


def _bytes(token_ids: Sequence[int]) -> bytes:
    return array("q", token_ids).tobytes()


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
