"""`augserve rollback [VERSION]`: an earlier version is the champion again; no rule brings the later one back."""

import argparse
from datetime import UTC, datetime

from ...models.registry.source import open_client, open_source
from ...models.registry.versions import roll_back
from .versions import add_registry


def configure(parser: argparse.ArgumentParser) -> None:
    meaning = "number, alias or bundle of the version to take (default: the champion before the present one)"
    parser.add_argument("version", nargs="?", metavar="VERSION", help=meaning)
    add_registry(parser)


def run(arguments: argparse.Namespace) -> None:
    open_source(arguments.registry).versions()  # tells an unreachable registry at once, in one line
    target, left = roll_back(open_client(arguments.registry), arguments.version, datetime.now(UTC))
    instead = "" if left is None else f", instead of version {left.number}"
    print(f"version {target.number} (bundle {target.bundle}) is the champion{instead}")
