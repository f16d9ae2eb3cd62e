"""The sessions of a run and their arrivals."""

from random import Random

from .plan import SessionPlan
from .tasks import suite


def session_plans(
    duration_s: float, rate_per_s: float, temperatures: tuple[float, ...], seed: int
) -> tuple[SessionPlan, ...]:
    """Sessions of evenly drawn tasks that arrive within `duration_s` as a Poisson process of `rate_per_s`.

    The same arguments give the same plans. A longer duration only adds plans.
    """
    tasks = suite()
    arrivals = Random(f"{seed}-arrivals")
    plans: list[SessionPlan] = []
    arrival_s = arrivals.expovariate(rate_per_s)
    while arrival_s < duration_s:
        index = len(plans)
        random = Random(f"{seed}-session-{index}")
        kind = random.choice(tuple(tasks.kinds))
        plans.append(
            SessionPlan(
                session_id=f"{kind}-{seed}-{index}",
                kind=kind,
                arrival_s=arrival_s,
                temperature=random.choice(temperatures),
                seed=random.randrange(2**31),
                draft=tasks.draft(kind, random),
            )
        )
        arrival_s += arrivals.expovariate(rate_per_s)
    return tuple(plans)
