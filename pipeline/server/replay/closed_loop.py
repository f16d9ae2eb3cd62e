"""Runs sessions in a closed loop: each agent begins the next session of the load when its last one ends."""

import asyncio
import logging
from collections.abc import Sequence

from ....data.workload.model import Session
from .runner import SessionReplayer

FAILED_WAIT_S = 1.0
"""Between a failed session and the agent's next one: a broken server is not flooded with requests."""

logger = logging.getLogger(__name__)


class ClosedLoop:
    """The agents of a closed loop. The k-th session to begin is the k-th of the load, as in the simulator."""

    def __init__(self, runner: SessionReplayer, later: Sequence[Session]) -> None:
        """`later`: the sessions after the agents' first ones."""
        self._runner = runner
        self._later = iter(later)
        self._exhausted = False

    async def run(self, first: Session) -> None:
        """Run an agent from its first session on. Called at the session's arrival."""
        ended_s = await self._runner.run(first)
        while True:
            if ended_s is None:
                await asyncio.sleep(FAILED_WAIT_S)
                ended_s = asyncio.get_running_loop().time()
            if self._runner.is_over(ended_s) or (session := self._next()) is None:
                return
            ended_s = await self._runner.run_at(session, ended_s + session.arrival_s)

    def _next(self) -> Session | None:
        session = next(self._later, None)
        if session is None and not self._exhausted:
            self._exhausted = True
            logger.warning("replay: no session is left before the end; its agents stop one by one")
        return session
