"""The one place where a turn or a tool call becomes a feature vector."""
