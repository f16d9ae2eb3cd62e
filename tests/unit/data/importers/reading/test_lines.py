import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.importers.reading import lines
from augserve.data.importers.reading.lines import json_lines
from augserve.data.importers.reading.members import Member
from augserve.data.importers.reading.problems import ImportingError, Problems

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


def read(content: bytes, problems: Problems) -> list[tuple[int, object]]:
    return list(json_lines(Member("f.jsonl", io.BytesIO(content)), problems))


@given(st.lists(VALUES))
def test_every_line_comes_once_in_order_with_its_number(values: list[object]) -> None:
    problems = Problems()
    content = "\r\n".join(json.dumps(value) for value in values).encode()
    assert read(content, problems) == list(enumerate(values, 1))
    assert not problems.skipped


def test_invalid_json_and_other_encodings_are_named_by_file_and_line_and_the_rest_is_read() -> None:
    problems = Problems()
    content = b'{"a": 1}\n{"a": \n\n"caf\xe9"\n' + b"[" * 100_000 + b"\n2\n"
    assert read(content, problems) == [(1, {"a": 1}), (6, 2)]
    assert [named.split(": ")[0] for named in problems.named] == ["f.jsonl:2", "f.jsonl:4", "f.jsonl:5"]


def test_strict_reading_fails_at_the_first_problem() -> None:
    with pytest.raises(ImportingError, match=r"f\.jsonl:2"):
        read(b"1\n{\n{\n", Problems(strict=True))


def test_a_line_of_ten_megabytes_is_read() -> None:
    text = "x" * (10 << 20)
    assert read(json.dumps(text).encode() + b"\n1\n", problems := Problems()) == [(1, text), (2, 1)]
    assert not problems.skipped


def test_a_line_over_the_limit_is_named_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_LIMIT_BYTES", 1 << 20)
    problems = Problems()
    content = b"1\n" + b"9" * (3 << 20) + b"\n2\n" + b"9" * (5 << 20)
    assert read(content, problems) == [(1, 1), (3, 2)]
    assert problems.named == [f"f.jsonl:{line}: line longer than 1 MiB" for line in (2, 4)]


def test_a_byte_order_mark_is_not_part_of_the_first_line() -> None:
    assert read(b"\xef\xbb\xbf1\n", Problems()) == [(1, 1)]
