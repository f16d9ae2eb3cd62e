"""All sessions of a run, each begun at its time whether or not the server keeps up (open loop)."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Timed(Protocol):
    @property
    def arrival_s(self) -> float:
        """Since the start of the run."""
        ...


Plan = TypeVar("Plan", bound=Timed)
PlanIn = TypeVar("PlanIn", contravariant=True)
Seen = TypeVar("Seen")
SeenOut = TypeVar("SeenOut", covariant=True)


class Runner(Protocol[PlanIn, SeenOut]):
    async def run(self, plan: PlanIn, /) -> SeenOut:
        """Run one session to its end."""
        ...


async def run_open_loop(runner: Runner[Plan, Seen], plans: Sequence[Plan], start_s: float | None = None) -> list[Seen]:
    """Run all plans and give what was seen, in their order. The first failure cancels the rest and is raised.

    The run starts at `start_s` of the event loop's clock, now where it is not given.
    """
    loop = asyncio.get_running_loop()
    begin_s = loop.time() if start_s is None else start_s

    async def session(plan: Plan) -> Seen:
        await asyncio.sleep(max(begin_s + plan.arrival_s - loop.time(), 0.0))
        return await runner.run(plan)

    tasks = [asyncio.ensure_future(session(plan)) for plan in plans]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
