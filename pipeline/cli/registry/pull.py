"""`augserve pull [VERSION] DIR`: fetch a verified bundle from a registry, on a GPU server."""

import argparse
from pathlib import Path

from ....models.registry.pull import pull
from ....models.registry.versions import CHAMPION
from ....models.serving.trust import Trust
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
    parser.add_argument("--public-key", metavar="HEX", help="refuse a bundle that is not signed with this key")
    parser.add_argument("--vllm", metavar="VERSION", help="refuse a bundle that is not for this vLLM")
    add_registry(parser)


def run(arguments: argparse.Namespace) -> None:
    registry, trust = opened_registry(arguments), Trust(public_key=arguments.public_key)
    version, bundle = pull(registry, arguments.version, arguments.folder, trust, arguments.vllm)
    aliases = "".join(f", {alias}" for alias in version.aliases)
    print(f"{arguments.folder}: bundle {bundle.version} (version {version.number}{aliases}), verified")
    print(f'To pin it: "bundle_sha256": "{bundle.sha256}" in --additional-config')
