"""`augserve rollback [VERSION]`: make an earlier version the champion; the rule never restores the later one."""

import argparse
from datetime import UTC, datetime

from ....models.registry.versions import roll_back
from .versions import add_registry, opened_registry


def configure(parser: argparse.ArgumentParser) -> None:
    meaning = "number, alias or bundle of the new champion (default: the champion before the present one)"
    parser.add_argument("version", nargs="?", metavar="VERSION", help=meaning)
    add_registry(parser)


def run(arguments: argparse.Namespace) -> None:
    registry = opened_registry(arguments)
    registry.versions()  # an unreachable registry is an error of one line here
    target, left = roll_back(registry.client, arguments.version, datetime.now(UTC))
    instead = "" if left is None else f", instead of version {left.number}"
    print(f"version {target.number} (bundle {target.bundle}) is the champion{instead}")
