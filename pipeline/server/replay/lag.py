"""The client's own lag: how much it adds to the measured times."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .runner import ReplayedTurn

LIMIT_S = 0.05
"""Above this p99, the client's lag shows in the TTFT."""
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class ClientLag:
    """Seconds. `send`: from a turn's arrival until it is sent; `loop`: lateness of the event loop."""

    send_p50_s: float
    send_p99_s: float
    send_max_s: float
    loop_p99_s: float

    @property
    def keeps_up(self) -> bool:
        return max(self.send_p99_s, self.loop_p99_s) <= LIMIT_S

    def warning(self) -> str:
        return (
            f"the client did not keep up: turns were sent {1e3 * self.send_p99_s:.0f} ms late and its event loop "
            f"woke {1e3 * self.loop_p99_s:.0f} ms late (p99); run it on another machine, or lower the rate"
        )


def client_lag(turns: Sequence[ReplayedTurn], ticks_s: Sequence[float]) -> ClientLag:
    late = np.array([max(turn.sent_s - turn.due_s, 0.0) for turn in turns] or [0.0])
    p50, p99 = np.percentile(late, (50, 99))
    return ClientLag(float(p50), float(p99), float(late.max()), float(np.percentile(list(ticks_s) or [0.0], 99)))


async def watch_loop(tick: Callable[[float], object]) -> None:
    """Report the lateness of each tick of the event loop in seconds, until cancelled."""
    now = asyncio.get_running_loop().time
    while True:
        due_s = now() + TICK_S
        await asyncio.sleep(TICK_S)
        tick(max(now() - due_s, 0.0))
