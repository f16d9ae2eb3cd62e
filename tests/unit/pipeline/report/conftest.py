from ..results.conftest import results, selection

__all__ = ["results", "selection"]
