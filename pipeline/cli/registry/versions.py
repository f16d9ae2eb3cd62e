"""`augserve versions`: list the scheduler versions of a registry, the newest first."""

import argparse
import os
from collections.abc import Sequence

from ....models.registry.source import Registry
from ....models.registry.versions import Version
from ...project.tracking import DATABASE
from ...results.aligned import aligned


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Add the option --registry."""
    parser.add_argument(
        "--registry",
        metavar="URI",
        default=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}",
        help="URL of an MLflow server, or a database's URI (default: MLFLOW_TRACKING_URI, else mlflow.db here)",
    )
    parser.add_argument("--plain-http", action="store_true", help="allow a server on another host without TLS")


def opened_registry(arguments: argparse.Namespace) -> Registry:
    """The registry of the options that `add_registry` has added."""
    return Registry(arguments.registry, arguments.plain_http)


def configure(parser: argparse.ArgumentParser) -> None:
    add_registry(parser)


def run(arguments: argparse.Namespace) -> None:
    print(listing(opened_registry(arguments).versions()))


def listing(versions: Sequence[Version]) -> str:
    """One line per version: number, bundle, day, git revision, aliases and the first line of its description."""
    if not versions:
        return "no version yet; `dvc repro package` registers the first"
    rows = [("version", "bundle", "registered", "git", "alias", "")]
    for version in reversed(versions):
        first, _, _ = version.description.partition("\n")
        revision = version.tags.get("git_revision", "")[:10]
        alias = ",".join(version.aliases)
        rows.append((str(version.number), version.bundle, f"{version.created:%Y-%m-%d %H:%M}", revision, alias, first))
    return aligned(rows, left=range(6))
