from augserve.data.importers.reading.problems import NAMED, Problems


def test_all_problems_are_counted_and_the_first_few_are_named() -> None:
    problems = Problems()
    for line in range(100):
        problems.skip(f"f:{line}", "bad")
    assert problems.skipped == {"bad": 100}
    assert problems.named == [f"f:{line}: bad" for line in range(NAMED)]


def test_the_number_of_causes_is_bounded() -> None:
    problems = Problems()
    for number in range(10_000):
        problems.skip("f", f"cause {number}")
        problems.note(f"rule {number}")
    assert problems.skipped.total() == problems.left_out.total() == 10_000
    assert len(problems.skipped) < 300
    assert len(problems.left_out) < 300


def test_records_left_out_by_rule_are_no_error_even_when_strict() -> None:
    problems = Problems(strict=True)
    problems.note("images", 3)
    assert problems.left_out == {"images": 3}
