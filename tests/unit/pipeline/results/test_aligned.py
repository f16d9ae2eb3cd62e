from augserve.pipeline.results.aligned import aligned


def test_columns_are_equally_wide_and_texts_begin_at_the_left() -> None:
    rows = [["policy", "steps/min", ""], ["vllm", "9.0", "best"], ["a longer name", "1,234.5", ""]]
    assert aligned(rows, left=[0, 2]).split("\n") == [
        "policy         steps/min",
        "vllm                 9.0  best",
        "a longer name    1,234.5",
    ]


def test_no_row_is_no_text() -> None:
    assert aligned([], left=[0]) == ""
