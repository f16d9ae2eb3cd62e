import json
from pathlib import Path
from typing import Any

import pytest

from augserve.data.tables.files import TraceError, rows_to_table, write_table
from augserve.pipeline.cards import run as cards
from augserve.pipeline.cards.card import measure_card
from augserve.pipeline.cards.tables import card_tables, number
from augserve.pipeline.cli import __main__ as cli
from augserve.pipeline.project.public_sets import Facts, Import, PublicSet

FACTS = Facts(format="azure", licence="MIT", holds="little", defects=("a | b",))
PUBLIC = PublicSet("small", FACTS, (Import("https://x", "abc", "p"),), ())


def turn(session: str, index: int, arrival_s: float, prompt: int, output: int, **more: object) -> dict[str, Any]:
    key = {"source": "small", "session_id": session, "turn": index, "arrival_s": arrival_s}
    return key | {"prompt_tokens": prompt, "output_tokens": output} | more


def call(session: str, tool: str, duration_s: float, timing: str) -> dict[str, Any]:
    key = {"source": "small", "session_id": session, "turn": 0, "call": 0, "start_s": 1.0}
    return key | {"tool": tool, "duration_s": duration_s, "timing": timing}


TURNS = [
    turn("a", 0, 10.0, 100, 5, finish_reason="tool_calls"),
    turn("a", 1, 20.0, 200, 15, finish_reason="stop"),
    turn("b", 0, 40.0, 300, 25, finish_reason="stop"),
    turn("c", 0, 40.5, 1000, 35),
]
CALLS = [call("a", "bash", 1.0, "call"), call("b", "bash", 3.0, "call"), call("c", "read", 0.5, "pause")]


def save(folder: Path, turns: list[dict[str, Any]], calls: list[dict[str, Any]] | None) -> Path:
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    if calls is not None:
        write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(tmp_path / "data/traces/small", TURNS, CALLS)
    (tmp_path / "params.yaml").write_text("data: {sources: [small], mirror: ../shared/data}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_card_counts_what_the_tables_hold(tmp_path: Path) -> None:
    card = measure_card("small", save(tmp_path, TURNS, CALLS), PUBLIC)
    assert (card.sessions, card.turns, card.tool_calls, card.steps, card.span_s) == (3, 4, 3, 0, 30.5)
    assert card.turns_per_session is not None
    assert (card.turns_per_session.count, card.turns_per_session.largest) == (3, 2.0)
    assert card.prompt_tokens is not None
    assert (card.prompt_tokens.p50, card.prompt_tokens.largest) == (250.0, 1000.0)
    assert list(card.tool_duration_s) == ["bash", "read"]
    assert (card.tool_duration_s["bash"].count, card.tool_duration_s["bash"].p50) == (2, 2.0)
    assert card.finish_reasons == {"stop": 2, "not recorded": 1, "tool_calls": 1}
    assert card.timings == {"call": 2, "pause": 1}
    assert card.null_shares["turns.finish_reason"] == 0.25
    assert card.null_shares["turns.cached_tokens"] == 1.0
    assert "turns.arrival_s" not in card.null_shares
    assert (card.licence, card.source) == ("MIT", ("https://x @ abc, p",))


def test_a_session_id_of_two_sources_is_two_sessions(tmp_path: Path) -> None:
    turns = [TURNS[0], TURNS[0] | {"source": "other"}]
    assert measure_card("small", save(tmp_path, turns, None)).sessions == 2


def test_sub_agents_are_counted_and_having_none_is_no_missing_value(tmp_path: Path) -> None:
    turns = [*TURNS[:2], *(turn("d", number, 12.0, 50, 5, parent_session_id="a") for number in (0, 1))]
    card = measure_card("small", save(tmp_path, turns, CALLS))
    assert (card.sessions, card.agents) == (2, 1)
    assert not {"turns.parent_session_id", "tool_calls.agent_session_id"} & set(card.null_shares)


def test_a_set_without_rows_or_calls_has_a_card(tmp_path: Path) -> None:
    card = measure_card("small", save(tmp_path, [], None))
    assert (card.sessions, card.turns, card.span_s, card.prompt_tokens) == (0, 0, 0.0, None)
    assert "small" in card_tables(card)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no turns\*\.parquet"):
        measure_card("small", tmp_path)


def test_terminal_and_markdown_show_the_same_figures(tmp_path: Path) -> None:
    card = measure_card("small", save(tmp_path, TURNS, CALLS), PUBLIC)
    text, markdown = card_tables(card), card_tables(card, "pipe")
    for shown in (text, markdown):
        assert "stop 50.00%" in shown
        assert "turns.finish_reason 25.00%" in shown
        assert "MIT" in shown
        assert "https://x @ abc, p" in shown
    assert "a | b" in text
    (row,) = [line for line in markdown.splitlines() if line.startswith("| bash")]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["bash, s", "2", "1.2", "2", "2.8", "2.98", "3"]


def test_markdown_escapes_the_mark_between_cells(tmp_path: Path) -> None:
    assert "a \\| b" in card_tables(measure_card("small", save(tmp_path, TURNS, CALLS), PUBLIC), "pipe")


def test_many_tools_are_summed_up_after_the_most_frequent(tmp_path: Path) -> None:
    calls = [call("a", f"tool{index:02}", 1.0, "call") for index in range(17)]
    assert "2 further tools" in card_tables(measure_card("small", save(tmp_path, TURNS, calls)))


@pytest.mark.parametrize(("value", "shown"), [(0.01234, "0.0123"), (99.96, "100"), (1234.5, "1,234"), (0.0, "0")])
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_command_shows_the_sets_of_the_pipeline_or_the_given_folders(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["data", "show"])
    shown = capsys.readouterr().out
    assert shown.startswith("small")
    cli.main(["data", "show", "data/traces/small", "--markdown"])
    assert capsys.readouterr().out.startswith("| small")


def test_a_folder_that_is_not_there_ends_the_command_with_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "show", "nowhere"])
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]


def test_the_stage_writes_cards_and_distributions(root: Path) -> None:
    save(root / "data/traces/small", TURNS, [call("a", "bash", duration, "call") for duration in [0.0, *range(1, 25)]])
    cards.main()
    assert json.loads((cards.REPORTS / "metrics.json").read_text())["small"]["turns"] == 4
    lengths = (cards.REPORTS / "prompt_tokens.csv").read_text().splitlines()
    assert (lengths[0], lengths[1], lengths[-1]) == ("set,share,prompt_tokens", "small,0.00,100", "small,1.00,1000")
    durations = (cards.REPORTS / "duration_s.csv").read_text().splitlines()
    assert (durations[1], durations[-1]) == ("small: bash,0.00,1e-05", "small: bash,1.00,24")
