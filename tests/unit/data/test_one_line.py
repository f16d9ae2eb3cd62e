from augserve.data.one_line import one_line


def test_an_error_of_several_lines_is_one_line() -> None:
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert one_line(ValueError("x" * 1_000)) == "x" * 1_000


def test_a_long_error_is_cut_where_it_is_asked_for() -> None:
    assert len(one_line(ValueError("x" * 1_000), 200)) == 200


def test_an_error_that_says_nothing_has_the_name_of_its_class() -> None:
    assert one_line(MemoryError()) == "MemoryError"
