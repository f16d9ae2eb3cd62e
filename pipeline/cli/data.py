"""`augserve data show [FOLDER …]`: the data card of each set."""

import argparse
from pathlib import Path

from ..cards.card import measure_card
from ..cards.tables import card_tables
from ..project.params import load_params
from ..project.public_sets import load_public_sets
from ..project.trace_sources import DataParams, present_sources


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    meaning = "print the contents of sets of traces"
    show = actions.add_parser("show", help=meaning, description=meaning)
    show.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="default: the sets of data.sources")
    show.add_argument("--markdown", action="store_true", help="print Markdown")


def run(arguments: argparse.Namespace) -> None:
    public = load_public_sets()
    sources = [] if arguments.folders else present_sources(load_params(DataParams))
    for folder in arguments.folders or [source.folder for source in sources]:
        name = folder.resolve().name
        print(card_tables(measure_card(name, folder, public.get(name)), "pipe" if arguments.markdown else "plain"))
