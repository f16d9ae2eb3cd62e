from ..results.conftest import evaluated

__all__ = ["evaluated"]
