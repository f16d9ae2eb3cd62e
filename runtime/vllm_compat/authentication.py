"""The API keys of vLLM's server, which it checks inside of all middleware that `--middleware` names."""

from collections.abc import Mapping
from typing import Any, Protocol


class Authentication(Protocol):
    """vLLM's AuthenticationMiddleware."""

    api_tokens: list[bytes]  # hashes of the server's keys

    def verify_token(self, headers: Any) -> bool: ...


def authentication_of(scope: Mapping[str, Any]) -> Authentication | None:
    """The check that the server of an ASGI scope makes of its requests; None for a server without API keys."""
    for middleware in getattr(scope.get("app"), "user_middleware", ()):
        if hasattr(middleware.cls, "verify_token"):
            authentication: Authentication = middleware.cls(None, *middleware.args, **middleware.kwargs)
            return authentication
    return None


def is_authentic(authentication: Authentication, scope: Mapping[str, Any]) -> bool:
    """Whether the request of an ASGI scope bears one of the server's API keys."""
    from starlette.datastructures import Headers

    return authentication.verify_token(Headers(scope=dict(scope)))
