"""A thread that looks for another bundle in the deployment's folders, and for another mode in the shared file.

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
from ..parts import Parts
from ..publisher import shared_folder
from .mode_file import Mode, asked_mode, listening

logger = logging.getLogger(f"vllm.{__name__}")

LOOK_S = 1.0
Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What the watcher asks the engine to do; None: leave it."""

    parts: Parts | None = None
    candidate: Parts | None = None
    retire: str | None = None  # why the candidate goes
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
        self._bundle = _Folder(deployment.bundle, fingerprint(deployment.bundle))
        self._candidate = _Folder(deployment.candidate, ())
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
        if self._bundle.has_changed() and not self._bundle.is_empty:
            self._load_bundle(self._deployment, "new bundle", lambda parts: Change(parts=parts))
        if self._candidate.has_changed():
            if self._candidate.is_empty:
                self._post(Change(retire="its folder is empty"))
            else:
                self._load_bundle(self._deployment.of_candidate, "candidate", lambda parts: Change(candidate=parts))

    def _load_bundle(self, deployment: Deployment, what: str, change: Callable[[Parts], Change]) -> None:
        try:
            parts = self._load(deployment)
        except ValueError as error:  # a BundleError or a DeploymentError, in one line
            self._refused()
            logger.warning("augserve: the %s is refused, the engine keeps what it has: %s", what, error)
        else:
            self._post(change(parts))


class _Folder:
    """A folder, and its content when it was taken last."""

    def __init__(self, path: Path | None, taken: Fingerprint) -> None:
        self._path = path
        self._taken = self._seen = taken

    def has_changed(self) -> bool:
        """Whether it has another content, which was the same at the last look. That content counts as taken then."""
        found = fingerprint(self._path)
        is_settled, self._seen = found == self._seen, found
        if not is_settled or found == self._taken:
            return False
        self._taken = found
        return True

    @property
    def is_empty(self) -> bool:
        return not self._taken


def fingerprint(folder: Path | None) -> Fingerprint:
    """Names, sizes and times of a folder's files; empty for a missing one."""
    try:
        with os.scandir(folder or "") as entries:
            facts = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in facts))
