"""Hints: facts about a turn that vLLM does not pass to its scheduler."""
