"""`augserve export FORMAT TRACES… --out DIR`: recorded sessions for another harness to replay."""

import argparse
from pathlib import Path

from ...data.exporters.run import FORMATS, export_traces


def configure(parser: argparse.ArgumentParser) -> None:
    formats = "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items())
    parser.add_argument("format", metavar="FORMAT", help=formats)
    parser.add_argument("traces", metavar="TRACES", nargs="+", type=Path, help="folder of traces")
    parser.add_argument("--out", metavar="DIR", required=True, type=Path, help="new folder for the files")


def run(arguments: argparse.Namespace) -> None:
    summary = export_traces(arguments.format, arguments.traces, arguments.out)
    print(f"{arguments.out}: {summary.turns:,} turns of {summary.trees:,} sessions and {summary.agents:,} sub-agents")
    for cause, count in summary.notes.items():
        print(f"changed: {cause}: {count:,}")
