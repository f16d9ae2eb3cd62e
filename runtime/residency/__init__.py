"""Which sessions hold KV memory: the working set, admission to it, and the pins of paused contexts."""
