"""AugServe's router in Ray Serve, which hears of replicas from time to time."""

import time
from collections.abc import Callable

ROUTER = "augserve.runtime.routing.ray_serve.SessionRouter"
HEARD_S = 60.0


def wait_until(met: Callable[[], bool]) -> None:
    """Wait until the router has heard of what replicas tell."""
    until_s = time.monotonic() + HEARD_S
    while not met():
        assert time.monotonic() < until_s
        time.sleep(0.2)
