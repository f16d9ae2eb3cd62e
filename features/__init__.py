"""Feature vectors of turns and tool calls, the same for training and serving."""
