"""`augserve sign DIR --key FILE`: sign a bundle, so that servers with `bundle_public_key` load it."""

import argparse
from pathlib import Path

from ....models.registry.signing import MAKE_KEY, sign_bundle


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the bundle, which is signed in place")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help=f"private key in a PEM file; to make one: {MAKE_KEY}"
    )


def run(arguments: argparse.Namespace) -> None:
    bundle, public_key = sign_bundle(arguments.folder, arguments.key)
    print(f"{arguments.folder}: bundle {bundle.version}, signed")
    print(f'For servers: "bundle_public_key": "{public_key}" in --additional-config')
