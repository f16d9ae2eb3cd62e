"""Data cards as tables, for a terminal and for a page of the docs."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal

import pandas as pd

from .card import Card

Style = Literal["plain", "pipe"]  # tabulate's names; pipe is Markdown
_TOOLS = 15  # tools of a set that have a line of their own


def card_tables(card: Card, style: Style = "plain") -> str:
    """The card's contents, its distributions (tokens, and seconds for tools) and its known defects."""
    facts = pd.DataFrame(_facts(card), columns=[card.name, ""])
    distributions = pd.DataFrame(_distributions(card)).fillna("")
    defects = pd.DataFrame({"known defects": card.defects})
    tables = [_table(frame, style) for frame in (facts, distributions, defects) if len(frame)]
    return "\n\n".join(tables) + "\n"


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "sessions", f"{card.sessions:,}"
    yield "of sub-agents", f"{card.agents:,}" if card.agents else ""
    yield "turns", f"{card.turns:,}"
    yield "tool calls", f"{card.tool_calls:,}"
    yield "engine steps", f"{card.steps:,}"
    yield "span, s", number(card.span_s)
    yield "finish reasons", _shares(card.finish_reasons, sum(card.finish_reasons.values()))
    yield "durations timed by", _shares(card.timings, card.tool_calls)
    yield "null in part", _shares({column: share for column, share in card.null_shares.items() if share < 1}, 1)
    yield "not recorded", ", ".join(column for column, share in card.null_shares.items() if share == 1)
    yield "licence", card.licence or ""
    for source in card.source:
        yield "source", source


def _distributions(card: Card) -> Iterator[dict[str, str]]:
    tools = list(card.tool_duration_s.items())
    for name, values in (
        ("turns a session", card.turns_per_session),
        ("prompt tokens", card.prompt_tokens),
        ("output tokens", card.output_tokens),
        *((f"{tool}, s", durations) for tool, durations in tools[:_TOOLS]),
    ):
        if values:
            cells = {column: number(value) for column, value in dataclasses.asdict(values).items()}
            yield {"": name} | cells | {"count": f"{values.count:,}"}
    if others := tools[_TOOLS:]:
        yield {"": f"{len(others)} further tools", "count": f"{sum(values.count for _, values in others):,}"}


def _shares(counts: Mapping[str, float], total: float) -> str:
    return ", ".join(f"{key} {count / total:.2%}" for key, count in counts.items())


def number(value: float) -> str:
    """Three significant digits; a whole number from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(frame: pd.DataFrame, style: Style) -> str:
    cells = frame.map(lambda text: text.replace("|", "\\|")) if style == "pipe" else frame
    alignment = ("left", *["right" if len(frame.columns) > 2 else "left"] * (len(frame.columns) - 1))
    return str(cells.to_markdown(index=False, tablefmt=style, disable_numparse=True, colalign=alignment))
