"""A thread that looks for another bundle in the deployment's folder, and for another mode in the shared file.

It verifies and tries a bundle off the engine's loop. A bundle that is still being copied is looked at again when its
folder has not changed for a while; a bad one is refused in one line, and the engine goes on with the one it has.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..deployment import Deployment
from ..metrics import shared_folder
from ..parts import Parts
from .mode_file import Mode, asked_mode, listening

logger = logging.getLogger(f"vllm.{__name__}")

LOOK_S = 1.0
Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What the watcher asks the engine to do; None: leave it."""

    parts: Parts | None = None
    mode: Mode | None = None
    withdraw: str | None = None  # why


class Watcher:
    """`post` receives each change, `refused` the version or the path of a bundle that is not taken, on the watcher's
    thread. `misbehaves` says why the present bundle is to be withdrawn, or None."""

    def __init__(
        self,
        deployment: Deployment,
        load: Callable[[Deployment], Parts],
        post: Callable[[Change], None],
        refused: Callable[[], None],
        misbehaves: Callable[[], str | None],
    ) -> None:
        self._deployment = deployment
        self._load = load
        self._post = post
        self._refused = refused
        self._misbehaves = misbehaves
        self._folder = shared_folder()
        self._mode: Mode | None = None if self._folder is None else asked_mode(self._folder)
        self._loaded = self._seen = fingerprint(deployment.bundle)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="augserve-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        failed = False
        with listening(self._folder):
            while not self._stop.wait(LOOK_S):
                try:
                    self._look()
                    failed = False
                except Exception as error:  # noqa: BLE001 — a watcher never stops the engine
                    if not failed:
                        logger.warning("augserve: cannot look for changes (%r); trying again", error)
                    failed = True

    def _look(self) -> None:
        if self._folder is not None and (mode := asked_mode(self._folder)) not in (None, self._mode):
            self._mode = mode
            self._post(Change(mode=mode))
        if (cause := self._misbehaves()) is not None:
            self._post(Change(withdraw=cause))
        found = fingerprint(self._deployment.bundle)
        settled, self._seen = found == self._seen, found
        if found and settled and found != self._loaded:
            self._loaded = found
            self._load_bundle()

    def _load_bundle(self) -> None:
        try:
            parts = self._load(self._deployment)
        except ValueError as error:  # a BundleError or a DeploymentError, in one line
            self._refused()
            logger.warning("augserve: the new bundle is refused, the engine keeps the one it has: %s", error)
        else:
            self._post(Change(parts=parts))


def fingerprint(folder: Path | None) -> Fingerprint:
    """Names, sizes and times of a folder's files; empty for a missing one."""
    try:
        with os.scandir(folder or "") as entries:
            facts = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in facts))
