"""Does it help? What recorded traces show, and what the simulator predicts for the same sessions."""
