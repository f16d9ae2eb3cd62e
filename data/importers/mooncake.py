"""Mooncake's request traces (JSON Lines): arrivals in milliseconds, lengths, and hashes of the prompt's blocks.

Each request is a session of one turn, named by its number in the import. The block hashes do not identify sessions: a
continuation shares the whole blocks of an earlier prompt, but so does a repeated or changed question. The hash of the
last, partial block is left out; the output has none. (Of the 3,967 requests of the conversation trace that share all
whole blocks of an earlier prompt, 426 are too short to continue it, and 449 prompts have several such successors.)
Requests whose first two blocks are equal share a split group. (The first block alone, a system prompt, is the same in
every request.)
Times count from the trace's beginning. The first token and the finish are unknown.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from .contract import Context, Record
from .reading.lines import json_lines
from .reading.members import Member
from .reading.numbers import as_float

_GROUP_BLOCKS = 2
_BLOCK_TOKENS = 512


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    number = 0
    for member in members:
        for _, value in json_lines(member, context.problems):
            row = _row(value, context.source)
            if row is None:
                cause = "no timestamp, input_length and output_length as numbers"
                context.problems.skip(context.problems.position, cause)
                continue
            yield "turns", row | {"session_id": f"request-{number}"}
            number += 1


def _row(value: Any, scope: str) -> dict[str, object] | None:
    """The turn; None where it is malformed. The writer checks the block hashes against the prompt."""
    if not isinstance(value, dict):
        return None
    time_ms = as_float(value.get("timestamp"))
    prompt, output = value.get("input_length"), value.get("output_length")
    if time_ms is None or not isinstance(prompt, int) or not isinstance(output, int):
        return None
    row: dict[str, object] = {
        "turn": 0,
        "split_group": None,
        "arrival_s": time_ms / 1000,
        "prompt_tokens": prompt,
        "output_tokens": output,
    }
    blocks = value.get("hash_ids")
    if isinstance(blocks, list) and blocks:
        row["split_group"] = "blocks-" + "-".join(str(block) for block in blocks[:_GROUP_BLOCKS])
        partial = len(blocks) * _BLOCK_TOKENS - prompt
        whole = blocks[:-1] if 0 < partial < _BLOCK_TOKENS else blocks
        row |= {"block_hashes": whole, "block_tokens": _BLOCK_TOKENS, "block_scope": scope}
    return row
