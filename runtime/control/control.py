"""Applies changes of the bundle and of the mode on the engine's thread, and takes a bad bundle back."""

import logging
from collections import deque
from dataclasses import replace

from ... import __version__
from .. import vllm_compat
from ..decisions import Decisions, build_decisions
from ..deployment import Deployment
from ..engine import Engine
from ..parts import Parts, Setup
from ..prediction.canary import PART, CandidateReports
from .registry import RegistryFollower
from .watcher import Change, Watcher

logger = logging.getLogger(f"vllm.{__name__}")

OF_THE_BUNDLE = frozenset(
    {"prediction", "correction", "budget", "residency", "order", "admission", "preemption", "context"}
)
"""Parts whose suspension is laid to a bundle that was loaded at run time."""


class Control:
    """What decides in one engine: a mode, the parts of a bundle, and the parts before them.

    A bundle that was loaded at run time is withdrawn when one of its parts is suspended, or when its features have
    drifted. The one before returns; it cannot be withdrawn in turn.
    """

    def __init__(self, deployment: Deployment, setup: Setup, engine: Engine, parts: Parts | None) -> None:
        self.engine = engine
        self.decisions = None if parts is None else build_decisions(parts, engine, deployment)
        self._deployment = deployment
        self._mode: str = deployment.mode
        self._parts = parts
        self._last = self.decisions  # the last ones, which mode off keeps for the next
        self._before: Parts | None = None
        self._candidate: Parts | None = None
        self._withdrawn: set[str] = set()  # versions
        self._changes: deque[Change] = deque()
        self._closes: list[Watcher | RegistryFollower] = []
        if self.decisions is not None:
            self.decisions.begin()
        if deployment.bundle is not None and parts is not None:
            self._closes.append(Watcher(deployment, setup.parts, self.post, self._note_refused, self._drifted))
            if deployment.registry is not None:
                version = None if deployment.allow_unknown_vllm else vllm_compat.vllm_version
                self._closes.append(RegistryFollower(deployment, version, engine.metrics.registry_failing.set))

    @property
    def is_due(self) -> bool:
        """Whether something is to be changed. Costs next to nothing."""
        suspended = self.engine.guard.suspended
        return bool(
            self._changes
            or (self._before is not None and not suspended.isdisjoint(OF_THE_BUNDLE))
            or (self._candidate is not None and PART in suspended)
        )

    def post(self, change: Change) -> None:
        """Ask for a change from any thread; it is applied between two steps."""
        self._changes.append(change)
        self.engine.metrics.pending_changes.set(len(self._changes))

    def apply(self) -> None:
        """Apply what is due. Raises what building the decisions raises, and leaves everything as it was."""
        while self._changes:
            change = self._changes.popleft()
            self.engine.metrics.pending_changes.set(len(self._changes))
            if change.parts is not None:
                self._take(change.parts)
            if change.mode is not None:
                self._become(change.mode, self._parts)
            if change.withdraw is not None:
                self._withdraw(change.withdraw)
            if change.candidate is not None:
                self._try(change.candidate)
            if change.retire is not None:
                self._retire(change.retire)
        if self._before is not None and (broken := self.engine.guard.suspended & OF_THE_BUNDLE):
            self._withdraw(f"{min(broken)} failed three times in a row")
        if self._candidate is not None and PART in self.engine.guard.suspended:
            self._withdrawn.add(self._candidate.version)
            self.engine.metrics.bundle_changes("withdrawn")
            self._retire("it failed three times in a row")

    @property
    def version(self) -> str:
        """Of the bundle, else of this release."""
        return __version__ if self._parts is None else self._parts.version

    def close(self) -> None:
        for watching in self._closes:
            watching.close()

    def _take(self, parts: Parts) -> None:
        before = self._parts
        if before is not None and parts.version == before.version:
            return
        if parts.version in self._withdrawn:
            self._note_refused()
            logger.warning("augserve: bundle %s has been withdrawn before and is not taken again", parts.version)
            return
        self._become(self._mode, parts)
        self._before = before
        self.engine.metrics.bundle_changes("loaded")
        logger.info("augserve: bundle %s replaces %s", parts.version, "none" if before is None else before.version)

    def _try(self, candidate: Parts) -> None:
        if candidate.version in self._withdrawn:
            self._note_refused()
            logger.warning("augserve: candidate %s has been withdrawn before and is not taken again", candidate.version)
            return
        if candidate.version == self.version:
            self._retire("it is the bundle that decides")
            return
        self._let_forecast(candidate)
        share = self._deployment.share
        logger.info("augserve: candidate %s forecasts for %.0f %% of the sessions", candidate.version, 100 * share)

    def _retire(self, cause: str) -> None:
        if self._candidate is not None:
            logger.warning("augserve: candidate %s forecasts no more: %s", self._candidate.version, cause)
        self._let_forecast(None)

    def _let_forecast(self, candidate: Parts | None) -> None:
        if self.decisions is not None:
            self._give(candidate, self.decisions)
        self._candidate = candidate
        self.engine.guard.forgive({PART})
        self.engine.metrics.candidate(None if candidate is None else candidate.version, self._deployment.share)

    def _give(self, candidate: Parts | None, decisions: Decisions) -> None:
        if candidate is None:
            decisions.canary.take(None)
        else:
            decisions.canary.take(candidate.forecaster(CandidateReports(self.engine.metrics)), candidate.version)

    def _withdraw(self, cause: str) -> None:
        before, bad = self._before, self._parts
        if before is None or bad is None:
            return
        self._before = None
        self._withdrawn.add(bad.version)
        self._become(self._mode, before)
        self.engine.metrics.bundle_changes("withdrawn")
        message = "augserve: bundle %s is withdrawn (%s), %s decides again; put another bundle into %s"
        logger.warning(message, bad.version, cause, before.version, self._deployment.bundle)

    def _become(self, mode: str, parts: Parts | None) -> None:
        """Let these parts decide in this mode, with the state of what decided before. Running requests and kept
        contexts stay as they are; a mode that keeps none releases them."""
        old, queue = self.decisions, vllm_compat.waiting_queue(self.engine.scheduler)
        engine = replace(self.engine, active=mode == "active")
        if old is not None:
            old.budget.restore()
            if old.chunks is not None:
                old.chunks.restore()
        decisions = None
        if parts is not None and mode != "off":
            decisions = build_decisions(parts, engine, self._deployment, self._last)
            self._give(self._candidate, decisions)
        if old is not None:
            old.ordering.queue.unrank()
            old.fall_silent()
            if not engine.active:
                old.contexts.release_all()
        new_queue = vllm_compat.own_queue(engine.scheduler) if decisions is None else decisions.ordering.queue
        for request in list(queue):
            new_queue.add_request(request)
        vllm_compat.set_waiting_queue(engine.scheduler, new_queue)
        self.engine, self.decisions, self._mode, self._parts = engine, decisions, mode, parts
        self._last = decisions or old or self._last
        if decisions is not None:
            decisions.begin()
        engine.guard.forgive(OF_THE_BUNDLE)
        if parts is not None:
            engine.metrics.deciding(parts.version, mode, parts.overrides)
        if self._candidate is not None and self._candidate.version == self.version:
            self._retire("it is the bundle that decides")

    def _note_refused(self) -> None:
        self.engine.metrics.bundle_changes("refused")

    def _drifted(self) -> str | None:
        decisions = self.decisions
        if self._before is None or decisions is None or not decisions.forecaster.drifted:
            return None
        return "its features have drifted from its training data"
