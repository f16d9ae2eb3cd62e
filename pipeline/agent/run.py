"""All sessions of a run, each begun at its time whether or not the server keeps up (open loop)."""

import asyncio
from collections.abc import Sequence

from .plan import SessionPlan
from .session import SessionRunner, SessionSeen


async def run_open_loop(runner: SessionRunner, plans: Sequence[SessionPlan]) -> list[SessionSeen]:
    """Run all plans and give what was seen, in their order. The first failure cancels the rest and is raised."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()

    async def session(plan: SessionPlan) -> SessionSeen:
        await asyncio.sleep(max(start_s + plan.arrival_s - loop.time(), 0.0))
        return await runner.run(plan)

    tasks = [asyncio.ensure_future(session(plan)) for plan in plans]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
