from augserve.data.tables.restarts import Restarts


def turns(*met: tuple[float, int], session: str = "s", source: str = "live") -> list[dict[str, object]]:
    return [{"source": source, "session_id": session, "arrival_s": at, "turn": number} for at, number in met]


def named(rows: list[dict[str, object]], *more: dict[str, object]) -> list[str]:
    restarts = Restarts([*rows, *more])
    return [restarts.run_id(str(row["source"]), str(row["session_id"]), float(str(row["arrival_s"]))) for row in rows]


def test_a_session_that_is_numbered_once_keeps_its_name():
    assert named(turns((1.0, 0), (2.0, 1), (9.0, 2))) == ["s", "s", "s"]
    assert named(turns((2.0, 0), (1.0, 1))) == ["s", "s"]  # a client's clock: no number is there twice


def test_each_restart_of_the_numbers_begins_a_session():
    rows = turns((1.0, 0), (2.0, 1), (9.0, 0), (10.0, 1), (11.0, 2), (20.0, 0))
    assert named(rows) == ["s#1", "s#1", "s#2", "s#2", "s#2", "s"]
    assert named(rows[::-1]) == ["s", "s#2", "s#2", "s#2", "s#1", "s#1"]


def test_a_session_without_its_first_recorded_turns_ends_where_the_numbers_begin_again():
    assert named(turns((1.0, 1), (2.0, 2), (9.0, 0), (10.0, 1))) == ["s#1", "s#1", "s", "s"]
    assert named(turns((1.0, 0), (2.0, 1), (9.0, 1), (10.0, 2))) == ["s#1", "s#1", "s", "s"]


def test_a_duplicate_turn_is_no_restart():
    assert named(turns((1.0, 0), (2.0, 1), (1.0, 0), (2.0, 1))) == ["s"] * 4


def test_restarts_are_separate_for_each_source_and_session():
    rows = turns((1.0, 0), (9.0, 0))
    others = [*turns((1.0, 0), session="other"), *turns((5.0, 0), source="mine")]
    assert named(rows, *others) == ["s#1", "s"]
    assert named(others, *rows) == ["other", "s"]


def test_a_call_belongs_to_the_session_in_which_it_started():
    restarts = Restarts(turns((1.0, 0), (2.0, 1), (9.0, 0), (10.0, 1)))
    assert [restarts.run_id("live", "s", at) for at in (1.5, 8.9, 9.5)] == ["s#1", "s#1", "s"]


def of_engines(*met: tuple[float, int, str]) -> list[dict[str, object]]:
    return [{**row, "engine": engine} for at, number, engine in met for row in turns((at, number))]


def test_a_session_that_moves_to_another_engine_is_one_session_on_each():
    assert named(of_engines((1.0, 0, "a"), (2.0, 1, "a"), (9.0, 0, "b"), (10.0, 1, "b"))) == ["s#1", "s#1", "s", "s"]
    assert named(of_engines((1.0, 0, "a"), (2.0, 1, "a"), (9.0, 2, "b"))) == ["s#1", "s#1", "s"]
    assert named(of_engines((1.0, 0, "a"), (2.0, 1, "a"))) == ["s", "s"]


def test_turns_that_a_balancer_scatters_are_sessions_of_their_own():
    rows = of_engines((1.0, 0, "a"), (2.0, 0, "b"), (3.0, 1, "a"), (4.0, 2, "a"))
    assert named(rows) == ["s#1", "s#2", "s", "s"]


def test_a_time_in_which_another_engine_served_the_session_is_no_pause():
    restarts = Restarts(of_engines((1.0, 0, "a"), (2.0, 0, "b"), (3.0, 1, "a"), (4.0, 2, "a")))
    assert restarts.moved("live", "s", 1.5, 3.0)
    assert not restarts.moved("live", "s", 3.5, 4.0)
    assert not restarts.moved("live", "other", 1.5, 3.0)
    assert not Restarts(turns((1.0, 0), (2.0, 1), (9.0, 0))).moved("live", "s", 2.5, 9.5)


def test_engines_whose_clocks_differ_keep_their_turns_apart():
    behind = of_engines((100.0, 0, "a"), (101.0, 1, "a"), (5.0, 2, "b"), (6.0, 3, "b"))  # b came after a
    assert named(behind) == ["s", "s", "s#1", "s#1"]
    mixed = of_engines((100.0, 0, "a"), (102.0, 1, "a"), (101.0, 2, "b"))
    assert len(set(named(mixed))) == 3
    assert Restarts(mixed).moved("live", "s", 100.5, 102.0)
