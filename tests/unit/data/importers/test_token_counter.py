from pathlib import Path

import pytest

from augserve.data.importers.token_counter import EstimatedTokens, ExactTokens, TokenCounterError

WORDS = '{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0,"b":1,"?":2},"unk_token":"?"},\
"pre_tokenizer":{"type":"Whitespace"}}'


def test_an_estimate_is_a_token_for_four_bytes_and_says_so() -> None:
    counter = EstimatedTokens()
    assert [counter.count(text) for text in ("", "abc", "abcd", "abcde", "éé", "\ud800")] == [0, 1, 1, 2, 1, 1]
    assert counter.ids("abc") == []
    assert not counter.exact
    assert counter.counted_texts == 6


def test_a_tokenizer_counts_exactly(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(WORDS)
    counter = ExactTokens(path)
    assert counter.ids("a b b") == [0, 1, 1]
    assert counter.count("a \ud800") == 2  # a lone surrogate, as JSON may hold it
    assert counter.exact


def test_an_unusable_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TokenCounterError, match=r"no\.json"):
        ExactTokens(tmp_path / "no.json")
    path = tmp_path / "bad.json"
    path.write_text("{}")
    with pytest.raises(TokenCounterError, match=r"bad\.json"):
        ExactTokens(path)
