"""A thread that asks a registry for the bundle of an alias, and puts a new one into the deployment's folder.

A process of its own asks, verifies and tries (`augserve pull`): MLflow's client takes seconds to import, which would
hold up an engine. The folder's watcher then takes the bundle as it takes any other.
"""

import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable

from ..deployment import Deployment

logger = logging.getLogger(f"vllm.{__name__}")

LIMIT_S = 600.0
"""Longest time of a pull: six answers and a trial of a minute each, and the start of a process."""
NICENESS = 5
"""The engine goes first."""


class RegistryFollower:
    """Asks at once and then each `poll_s` seconds. Of several engines with one folder a single one asks.

    `failing` receives whether the last answer was none, or a bundle that is not taken. Each cause is logged once.
    """

    def __init__(self, deployment: Deployment, vllm_version: str | None, failing: Callable[[bool], object]) -> None:
        """`vllm_version`: the running vLLM's; None: bundles for any are taken."""
        self._folder = deployment.bundle_folder().resolve()
        self._registry = deployment.registry or ""
        self._poll_s = deployment.poll_s
        self._command = [sys.executable, "-m", "augserve.pipeline.cli", "pull", deployment.alias, str(self._folder)]
        if deployment.bundle_public_key is not None:
            self._command += ["--public-key", deployment.bundle_public_key]
        if vllm_version is not None:
            self._command += ["--vllm", vllm_version]
        self._failing = failing
        self._last = ""  # why the last answer was of no use
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="augserve-registry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if (process := self._process) is not None:
            process.kill()
        self._thread.join(5.0)

    def _run(self) -> None:
        with contextlib.ExitStack() as held:
            asks = False
            while not self._stop.is_set():
                try:
                    asks = asks or self._claim(held)
                    cause = self._pull() if asks else ""
                except Exception as error:  # noqa: BLE001 — a registry never stops the engine
                    cause = f"registry {self._registry}: cannot be asked ({error!r})"
                if not self._stop.is_set():
                    self._note(cause)
                self._stop.wait(self._poll_s)

    def _claim(self, held: contextlib.ExitStack) -> bool:
        """Whether this engine is the one that asks for this folder; it remains so while `held` is open."""
        lock = (self._folder.parent / f".{self._folder.name}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        held.enter_context(lock)
        return True

    def _pull(self) -> str:
        """Pull once. Returns why there is no bundle to be taken; "" if there is one."""
        places = {"MLFLOW_TRACKING_URI": self._registry, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | places
        ) as self._process:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
            try:
                _, text = self._process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                return f"registry {self._registry}: no bundle within {LIMIT_S:.0f} s"
        if not self._process.returncode:
            return ""
        lines = [line for line in text.splitlines() if line.strip()] or [f"exit status {self._process.returncode}"]
        return lines[-1].removeprefix("error: ")

    def _note(self, cause: str) -> None:
        if cause and cause != self._last:
            message = "augserve: %s; the engine keeps the bundle it has, and the registry is asked every %g s"
            logger.warning(message, cause, self._poll_s)
        elif self._last and not cause:
            logger.info("augserve: registry %s answers again", self._registry)
        self._last = cause
        self._failing(bool(cause))
