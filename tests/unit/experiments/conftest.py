from ..pipeline.conftest import finished, project

__all__ = ["finished", "project"]
