"""A request router for Ray Serve: a session stays on its replica, and a new one begins where the least work waits.

    RequestRouterConfig(request_router_class="augserve.runtime.routing.ray_serve.SessionRouter")

Ray Serve names the session by the header `x-session-id`, or by that of RAY_SERVE_SESSION_ID_HEADER_KEY. A replica tells
its backlog by `record_routing_stats`, which may return `told_backlog()`.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from ..publisher import shared_folder
from .load_notice import LoadReader
from .placement import SessionPlacement

BACKLOG = "augserve_backlog_seconds"
_KEY_BYTES = 16


class SessionRouter(RequestRouter):  # type: ignore[misc]  # Ray is not installed with AugServe
    """Without a session the request goes where the least work waits. A router remembers the sessions that it sent."""

    def initialize_state(self, **_: Any) -> None:
        self._placement = SessionPlacement()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replica of the request; the next call comes after a while if it has no room."""
        if not candidate_replicas:
            return []
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True
        replicas = {_number(replica): replica for replica in candidate_replicas}
        backlogs_s = backlogs({number: replica.routing_stats for number, replica in replicas.items()})
        session = pending_request.metadata.session_id or ""
        if not session:
            least_s = min(backlogs_s.values())
            return [[replica for number, replica in replicas.items() if backlogs_s[number] == least_s]]
        key = hashlib.blake2b(session.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        return [[replicas[self._placement.place(key, None, backlogs_s)[0]]]]


def backlogs(stats: Mapping[int, Mapping[str, Any]]) -> dict[int, float]:
    """The backlog of each replica, seconds; all 0 if one tells none, because it cannot be compared."""
    told = {number: of.get(BACKLOG) for number, of in stats.items()}
    known = {number: float(value) for number, value in told.items() if isinstance(value, int | float)}
    if len(known) < len(told) or any(map(math.isnan, known.values())):
        return dict.fromkeys(told, 0.0)
    return known


def told_backlog(engines: range = range(1)) -> dict[str, float]:
    """What AugServe's engines on this host tell, by their numbers in a server; empty where one tells nothing."""
    folder = shared_folder()
    if folder is None:
        return {}
    reader = LoadReader(folder)
    told = [reader.backlogs_s(range(rank, rank + 1)) for rank in engines]
    return {BACKLOG: sum(sum(one.values()) for one in told if one)} if all(told) else {}


def _number(replica: RunningReplica) -> int:
    return int.from_bytes(hashlib.blake2b(replica.replica_id.unique_id.encode(), digest_size=4).digest(), "little")
