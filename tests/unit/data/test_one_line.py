from augserve.data.one_line import MOST_CHARACTERS, one_line


def test_an_error_of_several_lines_is_one_short_line() -> None:
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert len(one_line(ValueError("x" * 1_000))) == MOST_CHARACTERS


def test_an_error_that_says_nothing_has_the_name_of_its_class() -> None:
    assert one_line(MemoryError()) == "MemoryError"
