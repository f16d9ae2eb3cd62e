"""vLLM general plugin (entry point group `vllm.general_plugins`) that adds AugServe's metrics to /metrics.

vLLM loads general plugins in every process, first in the API server, before the engines start and inherit the
environment. Without this plugin only those lines in /metrics are missing.
"""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

logger = logging.getLogger(f"vllm.{__name__}")


def register() -> None:
    """Make the folder for the engines' metrics and add its collector to the default registry. Never raises."""
    from .publisher import FOLDER_VARIABLE

    if FOLDER_VARIABLE in os.environ:
        return  # in an engine or a worker: its API server has done it
    try:
        from prometheus_client import REGISTRY

        folder = Path(tempfile.mkdtemp(prefix="augserve-metrics-"))
        REGISTRY.register(FolderCollector(folder))
    except Exception as error:  # noqa: BLE001 — metrics never stop the server
        logger.warning("augserve: /metrics will not show augserve's metrics: %r", error)
        return
    os.environ[FOLDER_VARIABLE] = str(folder)
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the atexit hook, not the folder
        shutil.rmtree(folder, ignore_errors=True)


class FolderCollector:
    """Collects the metrics that the engines publish; an unreadable file is skipped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> "list[Metric]":
        """Nothing, so that registering does not read the folder."""
        return []

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.parser import text_string_to_metric_families

        families: dict[str, Metric] = {}
        for path in sorted(self._folder.glob("*.prom")):
            try:
                published = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                logger.warning("augserve: cannot read %s: %r", path, error)
                continue
            for family in published:
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples.extend(family.samples)
        yield from families.values()
