"""vLLM's real scheduler under a virtual clock: arrivals, steps and tool returns, with a profile as the forward pass."""
