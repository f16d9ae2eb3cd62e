"""Records turns, tool calls and steps as trace files."""
