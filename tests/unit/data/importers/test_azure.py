import io
import time
from collections.abc import Iterator

import pytest

from augserve.data.importers.azure import import_records, timestamp_s
from augserve.data.importers.contract import Context
from augserve.data.importers.reading.members import Member
from augserve.data.importers.reading.problems import ImportingError, Problems
from augserve.data.importers.token_counter import EstimatedTokens

HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"


@pytest.fixture(autouse=True)
def _zone_as_before() -> Iterator[None]:
    yield
    time.tzset()  # after the environment is restored


def rows(content: bytes, problems: Problems) -> list[dict[str, object]]:
    context = Context(problems, EstimatedTokens())
    return [dict(row) for _, row in import_records([Member("t.csv", io.BytesIO(content))], context)]


def test_a_row_is_a_session_of_one_turn() -> None:
    found = rows(HEADER + b"2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109", Problems())
    assert found[0] == {
        "session_id": "request-0",
        "turn": 0,
        "arrival_s": pytest.approx(1700158546.68059, abs=1e-6),
        "prompt_tokens": 374,
        "output_tokens": 44,
    }
    assert [row["session_id"] for row in found] == ["request-0", "request-1"]


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("2023-11-16 18:15:46", 0.0),
        ("2023-11-16 18:15:46.1234567", 0.1234567),
        ("2023-11-16T18:15:46.5Z", 0.5),
        ("2023-11-16 19:15:46.25+01:00", 0.25),
        ("2023-11-16 18:15:46.5+0000", 0.5),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_timestamps_are_utc_to_the_microsecond(
    text: str, after_s: float, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert timestamp_s(text) == pytest.approx(1700158546 + after_s, abs=1e-6)


def test_malformed_rows_are_named_and_the_rest_is_read() -> None:
    problems = Problems()
    content = (
        HEADER + b"yesterday,1,2\r\n2023-13-16 18:15:46,1,2\r\n2023-11-16 18:15:46,1\r\n2023-11-16 18:15:46,7,8\r\n"
    )
    assert [row["prompt_tokens"] for row in rows(content, problems)] == [7]
    assert problems.named == [
        "t.csv:2: not a timestamp and two whole numbers",
        "t.csv:3: not a timestamp and two whole numbers",
        "t.csv:4: not as many cells as columns",
    ]


def test_another_file_is_refused_by_its_first_line() -> None:
    with pytest.raises(ImportingError, match=r"t\.csv.*ContextTokens"):
        rows(b"TIMESTAMP,in,out\n", Problems())
