import io
import json

from augserve.data.importers.contract import Context
from augserve.data.importers.mooncake import import_records
from augserve.data.importers.reading.members import Member
from augserve.data.importers.reading.problems import Problems
from augserve.data.importers.token_counter import EstimatedTokens


def rows(values: list[object], problems: Problems) -> list[dict[str, object]]:
    content = "\n".join(json.dumps(value) for value in values).encode()
    context = Context(problems, EstimatedTokens(), "set")
    return [dict(row) for _, row in import_records([Member("t.jsonl", io.BytesIO(content))], context)]


def request(hash_ids: list[int], **values: object) -> dict[str, object]:
    return {"timestamp": 27_482, "input_length": 6955, "output_length": 52, "hash_ids": hash_ids} | values


def test_a_request_is_a_session_and_milliseconds_become_seconds() -> None:
    (row,) = rows([request([0, 5, 6], input_length=1536)], Problems())
    assert row == {
        "session_id": "request-0",
        "turn": 0,
        "split_group": "blocks-0-5",
        "arrival_s": 27.482,
        "prompt_tokens": 1536,
        "output_tokens": 52,
        "block_hashes": [0, 5, 6],
        "block_tokens": 512,
        "block_scope": "set",
    }


def test_the_hash_of_a_partial_block_is_left_out() -> None:
    lengths = (1535, 1536, 1024, 1000)  # the last ones contradict three blocks: the writer says so
    found = rows([request([0, 5, 6], input_length=length) for length in lengths], Problems())
    assert [row["block_hashes"] for row in found] == [[0, 5], [0, 5, 6], [0, 5, 6], [0, 5, 6]]


def test_prompts_that_begin_alike_share_a_split_group() -> None:
    found = rows([request([0, 5, 6]), request([0, 5, 7, 8]), request([0, 9]), request([0]), request([])], Problems())
    assert [row["split_group"] for row in found] == ["blocks-0-5", "blocks-0-5", "blocks-0-9", "blocks-0", None]
    assert len({row["session_id"] for row in found}) == 5


def test_malformed_requests_are_named_and_the_rest_is_read() -> None:
    problems = Problems()
    found = rows([[], request([], timestamp=None), request([], input_length="many"), request([1])], problems)
    assert [row["session_id"] for row in found] == ["request-0"]
    cause = "no timestamp, input_length and output_length as numbers"
    assert problems.named == [f"t.jsonl:{line}: {cause}" for line in (1, 2, 3)]
