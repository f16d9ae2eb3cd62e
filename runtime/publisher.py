"""The way of an engine's metrics to the API server's /metrics: a file in a folder that both know."""

import contextlib
import logging
import os
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, values

from ..data.atomic import write_text

logger = logging.getLogger(f"vllm.{__name__}")

FOLDER_VARIABLE = "AUGSERVE_METRICS_FOLDER"
"""Set by the plugin in the API server and inherited by the engines; each engine writes `<pid>.prom` there."""
PUBLISH_S = 1.0


def shared_folder() -> Path | None:
    """The folder that the plug-in made in the API server; None without the plug-in."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


class Publisher:
    """A thread that writes the registry's text to a file whenever it changes, at most once in PUBLISH_S."""

    def __init__(self, registry: CollectorRegistry, path: Path) -> None:
        self._registry = registry
        self._path = path
        self._last = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="augserve-metrics", daemon=True)
        self._thread.start()

    @classmethod
    def where_needed(cls, registry: CollectorRegistry) -> "Publisher | None":
        """None where vLLM runs prometheus_client in multiprocess mode, which carries the values, or without plug-in."""
        folder, multiprocess = shared_folder(), values.ValueClass is not values.MutexValue
        return None if folder is None or multiprocess else cls(registry, folder / f"{os.getpid()}.prom")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        failed = False
        while True:
            try:
                text = generate_latest(self._registry).decode()
                if text != self._last:
                    write_text(self._path, text)
                    self._last = text
                failed = False
            except Exception as error:  # noqa: BLE001 — metrics never stop the engine
                if not failed:
                    message = "augserve: cannot publish metrics to %s (%r), so /metrics is out of date; retrying"
                    logger.warning(message, self._path, error)
                failed = True
            if self._stop.wait(PUBLISH_S):
                return
