"""The deployed part: the scheduler for vLLM and its middleware. Both load on first use; importing needs no vLLM."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hints.middleware import AugServeMiddleware
    from .scheduler import AugServeScheduler

__all__ = ["AugServeMiddleware", "AugServeScheduler"]


def __getattr__(name: str) -> Any:
    if name == "AugServeScheduler":
        try:
            from .scheduler import AugServeScheduler
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise ImportError("AugServeScheduler needs vLLM, which is not installed here; install it") from error
        return AugServeScheduler
    if name == "AugServeMiddleware":
        from .hints.middleware import AugServeMiddleware

        return AugServeMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
