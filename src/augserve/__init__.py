"""AugServe: a learned scheduler for tool-calling LLM requests on stock vLLM."""

__version__ = "0.1.0"
