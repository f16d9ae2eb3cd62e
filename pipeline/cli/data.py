"""`augserve data show [FOLDER …]`: the data card of each set."""

import argparse
from pathlib import Path

from ..cards.card import Card, measure_card
from ..cards.text import markdown, text
from ..project.params import load_params
from ..project.public_sets import load_public_sets
from ..project.trace_sources import DataParams, present_sources


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    meaning = "print what sets of traces hold"
    show = actions.add_parser("show", help=meaning, description=meaning)
    show.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="default: those of data.sources")
    show.add_argument("--markdown", action="store_true", help="as the page docs/results/data.md")


def run(arguments: argparse.Namespace) -> None:
    cards = measure(arguments.folders)
    print(markdown(cards) if arguments.markdown else "\n\n".join(text(card) for card in cards))


def measure(folders: list[Path]) -> list[Card]:
    """A card for each folder, or for each set of `data.sources` that is here."""
    public = load_public_sets()
    if not folders:
        folders = [source.folder for source in present_sources(load_params("data", DataParams))]
    return [measure_card(name := folder.resolve().name, folder, public.get(name)) for folder in folders]
