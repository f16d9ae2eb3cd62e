"""`augserve import FORMAT PATH… --out DIR`: traces of another format as the three tables."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ...data.importers.formats import FORMATS
from ...data.importers.reading.places import place
from ...data.importers.run import import_traces
from ...data.importers.summary import ImportSummary
from ...data.importers.token_counter import BYTES_PER_TOKEN

_TOOLS_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    formats = ", ".join(f"{entry.name} ({entry.meaning})" for entry in FORMATS.values())
    places = "file, folder, or .tar, .xz, .gz of either; also a URL, such as s3://bucket/folder"
    parser.add_argument("format", metavar="FORMAT", help=formats)
    parser.add_argument("paths", metavar="PATH", nargs="+", type=place, help=places)
    parser.add_argument("--out", metavar="DIR", required=True, type=Path, help="new folder for the three tables")
    parser.add_argument("--source", metavar="NAME", help="name of the set (default: the format's)")
    parser.add_argument(
        "--tokenizer", metavar="FILE", type=Path, help="tokenizer.json to count text with (default: an estimate)"
    )
    parser.add_argument("--strict", action="store_true", help="fail at the first malformed record")


def run(arguments: argparse.Namespace) -> None:
    summary = import_traces(
        arguments.format, arguments.paths, arguments.out, arguments.source, arguments.tokenizer, arguments.strict
    )
    print(*_lines(summary, arguments.out), sep="\n")


def _lines(summary: ImportSummary, out: Path) -> Iterator[str]:
    agents = f" ({summary.agents:,} of sub-agents)" if summary.agents else ""
    yield (
        f"{out}: {summary.turns:,} turns of {summary.sessions:,} sessions{agents}, "
        f"{summary.tool_calls:,} tool calls, {summary.steps:,} steps"
    )
    if summary.turns:
        yield f"span: {summary.span_s:,.1f} s"
    if summary.counted_texts:
        how = "counted with the tokenizer" if summary.exact_tokens else f"ESTIMATED, {BYTES_PER_TOKEN} bytes a token"
        yield f"tokens of text: {how}"
    if len(summary.tools):
        yield summary.tools.head(_TOOLS_SHOWN).to_string(float_format="{:.4g}".format)
    if len(summary.tools) > _TOOLS_SHOWN:
        yield f"… and {len(summary.tools) - _TOOLS_SHOWN} more tools"
    for cause, count in summary.left_out.items():
        yield f"by rule: {cause}: {count:,}"
    for cause, count in summary.skipped.items():
        yield f"skipped: {cause}: {count:,}"
    if summary.named:
        yield "the first skipped:"
    yield from (f"  {problem}" for problem in summary.named)
    if not summary.skipped:
        yield "skipped: nothing"
