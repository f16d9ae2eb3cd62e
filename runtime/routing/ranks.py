"""The header by which the middleware asks vLLM for the engine of a session, under vLLM's own data parallelism."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from ..hints.identity import Identity
from ..publisher import shared_folder
from .load_notice import LoadReader
from .placement import SessionPlacement
from .shared_places import KEY_BYTES, SharedPlaces

logger = logging.getLogger(f"vllm.{__name__}")

RANK_HEADER = b"x-data-parallel-rank"
"""vLLM reads it for chats, completions and messages, not for `/v1/responses`."""
Header = tuple[bytes, bytes]


class Ranks:
    """Chooses the engine of each named session. Never raises: without a choice vLLM's balancer chooses."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._ranks = _ranks(scope)
        self._reader: LoadReader | None = None
        self._placement: SessionPlacement | None = None
        folder = shared_folder()
        if len(self._ranks) < 2 or folder is None:
            return
        try:
            self._placement = SessionPlacement(SharedPlaces(folder))
            self._reader = LoadReader(folder)
        except OSError as error:
            logger.warning(
                "augserve: cannot share places in %s (%s), so vLLM's balancer splits sessions", folder, error
            )

    def header(self, owner: str, identity: Identity, headers: list[Header]) -> Header | None:
        """None: the session is not named, the caller or a router asks for a rank, or no engine tells its backlog."""
        if self._reader is None or self._placement is None or not identity.session:
            return None
        if any(name.lower() == RANK_HEADER and value.strip().isdigit() for name, value in headers):
            return None
        try:
            backlogs_s = self._reader.backlogs_s(self._ranks)
            if not backlogs_s:
                return None
            parent = _key(owner, identity.parent) if identity.parent else None
            rank, moved = self._placement.place(_key(owner, identity.session), parent, backlogs_s)
            if moved:
                self._reader.placed(rank)
        except Exception as error:  # noqa: BLE001 — a request never fails for its place
            logger.warning("augserve: a session was not placed: %r", error)
            return None
        return RANK_HEADER, str(rank - self._ranks.start).encode()  # vLLM counts from this server's first engine


def _key(owner: str, session: str) -> bytes:
    return hashlib.blake2b(f"{owner}\0{session}".encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _ranks(scope: Mapping[str, Any]) -> range:
    """The engines that the API server may choose among, by the arguments of the server that serves an ASGI scope."""
    arguments = getattr(getattr(scope.get("app"), "state", None), "args", None)

    def given(name: str) -> Any:
        return getattr(arguments, f"data_parallel_{name}", None)

    if given("external_lb") or given("multi_port_external_lb") or given("rank") is not None:
        return range(1)  # one engine for each API server
    if given("hybrid_lb") or given("start_rank") is not None:
        first = int(given("start_rank") or 0)
        return range(first, first + int(given("size_local") or 1))
    return range(int(given("size") or 1))
