"""The report as Markdown, as text and as one self-contained page."""

from collections.abc import Sequence

from .outcome import Outcome

ROWS = {
    "measured_s": ("measured for, s", "{:,.0f}"),
    "turns_per_minute": ("turns per minute", "{:.1f}"),
    "ttft_p50_s": ("TTFT p50, s", "{:.2f}"),
    "ttft_p90_s": ("TTFT p90, s", "{:.2f}"),
    "ttft_p99_s": ("TTFT p99, s", "{:.2f}"),
    "session_s": ("mean session time, s", "{:.1f}"),
}
STYLE = (
    ":root{color-scheme:light dark}body{margin:0 auto;padding:1rem;max-width:60rem;font:1rem/1.5 system-ui,sans-serif}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid #8886;text-align:right}th:first-child,td:first-child"
    "{text-align:left}"
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def outcomes(columns: dict[str, Outcome]) -> str:
    """A row a figure, a column a run."""
    rows = [
        [title, *(form.format(getattr(outcome, name)) for outcome in columns.values())]
        for name, (title, form) in ROWS.items()
    ]
    return table(["", *columns], rows)


def page(markdown: str) -> str:
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = f"<title>AugServe: report</title><style>{STYLE}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}{title}</head><body>\n{body}</body></html>\n'
