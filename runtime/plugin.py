"""vLLM general plugin (entry point group `vllm.general_plugins`): brings AugServe's counters into /metrics.

vLLM loads general plugins in every process: first in the API server's, when it builds its argument parser, hence
before the engines start and inherit the environment. Without this plugin all works but those lines in /metrics.
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

logger = logging.getLogger(__name__)


def register() -> None:
    """Make the folder for the engines' metrics and add its collector to the default registry. Never raises."""
    from .metrics import FOLDER_VARIABLE

    if FOLDER_VARIABLE in os.environ:
        return  # an engine's or worker's process: its API server has done it
    try:
        from prometheus_client import REGISTRY

        folder = Path(tempfile.mkdtemp(prefix="augserve-metrics-"))
        REGISTRY.register(FolderCollector(folder))
    except Exception as error:  # noqa: BLE001 — metrics never stop the server
        logger.warning("augserve: /metrics goes without augserve's counters: %r", error)
        return
    os.environ[FOLDER_VARIABLE] = str(folder)
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the atexit hook, not the folder
        shutil.rmtree(folder, ignore_errors=True)


class FolderCollector:
    """Collects what the engines published; a file that is unreadable at that moment is left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> "list[Metric]":
        """Nothing: the registry is not to read the folder when this is registered."""
        return []

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.parser import text_string_to_metric_families

        families: dict[str, Metric] = {}
        for path in sorted(self._folder.glob("*.prom")):
            try:
                found = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                logger.warning("augserve: cannot read %s: %r", path, error)
                continue
            for family in found:
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples.extend(family.samples)
        yield from families.values()
