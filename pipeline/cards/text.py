"""Data cards as text on a terminal and as a page of the docs."""

from collections.abc import Iterator, Mapping, Sequence

from .card import Card, Quantiles

_TOOLS = 15  # tools of a set that have a line of their own
_INTRODUCTION = """Written by `augserve data show --markdown`; what is not here when it runs is not on it.
Lengths in tokens, durations in seconds; a span is from the first arrival to the last. The public sets come from their
source repositories by `dvc --cd data/upstream pull`; none of their records is in this repository.
"""
_COLUMNS = ("count", "p10", "p50", "p90", "p99", "largest")


def text(card: Card) -> str:
    """A card as aligned lines."""
    rows = [("", *_COLUMNS), *_quantile_rows(card)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [card.name, *(f"  {key}: {value}" for key, value in _facts(card))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([*lines, *(f"  known defect: {defect}" for defect in card.defects)])


def markdown(cards: Sequence[Card]) -> str:
    """The page docs/results/data.md."""
    parts = [
        "# The sets of traces\n",
        _INTRODUCTION,
        *(_section(card) for card in cards),
    ]
    return "\n".join(parts)


def _section(card: Card) -> str:
    lines = [f"## {card.name}\n", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in _facts(card)]
    lines += ["", "| | " + " | ".join(_COLUMNS) + " |", "|---|" + "---:|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in _quantile_rows(card)]
    if card.defects:
        lines += ["", "Known defects:\n", *(f"- {defect}" for defect in card.defects)]
    return "\n".join([*lines, ""])


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "sessions", f"{card.sessions:,}"
    yield "turns", f"{card.turns:,}"
    yield "tool calls", f"{card.tool_calls:,}"
    if card.steps:
        yield "engine steps", f"{card.steps:,}"
    yield "span", f"{number(card.span_s)} s"
    yield "finish reasons", _shares(card.finish_reasons)
    if card.timings:
        yield "durations timed by", _shares(card.timings)
    empty = [column for column, share in card.null_shares.items() if share == 1.0]
    some = [f"{column} {_percent(share)}" for column, share in card.null_shares.items() if share < 1.0]
    if some:
        yield "null in part", ", ".join(some)
    if empty:
        yield "not recorded", ", ".join(empty)
    if card.licence:
        yield "licence", card.licence
    for source in card.source:
        yield "source", source


def _quantile_rows(card: Card) -> Iterator[tuple[str, ...]]:
    for name, values in (
        ("turns a session", card.turns_per_session),
        ("prompt tokens", card.prompt_tokens),
        ("output tokens", card.output_tokens),
    ):
        if values:
            yield name, *_values(values)
    for tool, values in list(card.tool_duration_s.items())[:_TOOLS]:
        yield f"{tool}, s", *_values(values)
    if rest := list(card.tool_duration_s.values())[_TOOLS:]:
        yield f"{len(rest)} further tools", f"{sum(values.count for values in rest):,}", *[""] * (len(_COLUMNS) - 1)


def _values(values: Quantiles) -> tuple[str, ...]:
    levels = (values.p10, values.p50, values.p90, values.p99, values.largest)
    return f"{values.count:,}", *(number(value) for value in levels)


def number(value: float) -> str:
    """Three significant digits, and whole numbers from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{key} {count / total:.1%}" for key, count in counts.items())


def _percent(share: float) -> str:
    """Never 0% or 100% of what is neither."""
    return f"{share:.0%}" if 0.01 <= share <= 0.99 else f"{share:.2%}"


def _cell(value: str) -> str:
    return value.replace("|", "\\|")
