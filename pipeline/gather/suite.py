"""The run as a whole: which sessions begin when."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from .plan import Draft, SessionPlan
from .tasks import code, math, media, shop, talk, web

TASKS: Final[Mapping[str, Callable[[Random], Draft]]] = {
    "math": math.draft,
    "shop": shop.draft,
    "code": code.draft,
    "web": web.draft,
    "chatbot": talk.draft,
    "image": media.image_draft,
    "tts": media.speech_draft,
}


def session_plans(
    duration_s: float, rate_per_s: float, temperatures: tuple[float, ...], seed: int
) -> tuple[SessionPlan, ...]:
    """Sessions that arrive as a Poisson process of `rate_per_s` within `duration_s`, their tasks drawn evenly.

    The same arguments give the same plans; a longer duration only adds to them.
    """
    arrivals = Random(f"{seed}-arrivals")
    plans: list[SessionPlan] = []
    arrival_s = arrivals.expovariate(rate_per_s)
    while arrival_s < duration_s:
        index = len(plans)
        random = Random(f"{seed}-session-{index}")
        kind = random.choice(tuple(TASKS))
        plans.append(
            SessionPlan(
                session_id=f"{kind}-{seed}-{index}",
                kind=kind,
                arrival_s=arrival_s,
                temperature=random.choice(temperatures),
                seed=random.randrange(2**31),
                draft=TASKS[kind](random),
            )
        )
        arrival_s += arrivals.expovariate(rate_per_s)
    return tuple(plans)
