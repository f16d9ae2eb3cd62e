from ..results.conftest import evaluated, selection

__all__ = ["evaluated", "selection"]
