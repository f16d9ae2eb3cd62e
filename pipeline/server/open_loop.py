"""Runs sessions in an open loop: each starts at its arrival, whether or not the server keeps up."""

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
Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)


class Runner(Protocol[PlanIn, ResultOut]):
    async def run(self, plan: PlanIn, /) -> ResultOut:
        """Run one session to its end."""
        ...


async def run_open_loop(
    runner: Runner[Plan, Result], plans: Sequence[Plan], start_s: float | None = None
) -> list[Result]:
    """Run all plans and return their results in the same order. The first error cancels the others and is raised.

    The run starts at `start_s` of the event loop's clock (default: now).
    """
    loop = asyncio.get_running_loop()
    begin_s = loop.time() if start_s is None else start_s

    async def session(plan: Plan) -> Result:
        await asyncio.sleep(max(begin_s + plan.arrival_s - loop.time(), 0.0))
        return await runner.run(plan)

    tasks = [asyncio.ensure_future(session(plan)) for plan in plans]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
