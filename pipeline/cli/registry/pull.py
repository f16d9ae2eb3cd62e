"""`augserve pull [VERSION] DIR`: fetch a verified bundle from a registry, on a GPU server."""

import argparse
from pathlib import Path

from ....models.registry.pull import pull
from ....models.registry.versions import CHAMPION
from .versions import add_registry, opened_registry


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version",
        nargs="?",
        default=CHAMPION,
        metavar="VERSION",
        help="a version's number, alias or bundle (default: champion)",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the bundle; an older bundle is replaced")
    add_registry(parser)


def run(arguments: argparse.Namespace) -> None:
    version, bundle = pull(opened_registry(arguments), arguments.version, arguments.folder)
    aliases = "".join(f", {alias}" for alias in version.aliases)
    print(f"{arguments.folder}: bundle {bundle.version} (version {version.number}{aliases}), verified")
    print(f'To pin it: "bundle_sha256": "{bundle.sha256}" in --additional-config')
