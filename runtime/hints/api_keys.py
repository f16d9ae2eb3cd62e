"""The API keys of vLLM's server, which it checks inside of all middleware that `--middleware` names.

Nothing of vLLM is imported: `vllm_compat` would load the scheduler into the API server.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Protocol


class _Authentication(Protocol):
    """vLLM's AuthenticationMiddleware."""

    api_tokens: list[bytes]  # hashes of the server's keys

    def verify_token(self, headers: Any) -> bool: ...


class ApiKeys:
    """The keys of the server that serves an ASGI scope. `several`: whether it has more than one; `required`: whether
    it has any."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._authentication: _Authentication | None = None
        for middleware in getattr(scope.get("app"), "user_middleware", ()):
            if hasattr(middleware.cls, "verify_token"):
                self._authentication = middleware.cls(None, *middleware.args, **middleware.kwargs)
        self.several = self._authentication is not None and len(set(self._authentication.api_tokens)) > 1
        self.required = self._authentication is not None

    def accept(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request bears one of the keys, or needs none."""
        from starlette.datastructures import Headers

        return self._authentication is None or self._authentication.verify_token(Headers(scope=dict(scope)))

    def is_operator(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request bears the first of the server's keys. Of several keys the others are callers'."""
        if self._authentication is None or not self.accept(scope):
            return False
        first = self._authentication.api_tokens[0]
        values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        key = values[0].partition(b" ")[2] if values else b""
        return hmac.compare_digest(hashlib.sha256(key).digest(), first)
