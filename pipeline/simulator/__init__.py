"""vLLM's scheduler under a virtual clock; a step-time profile replaces the forward pass."""
