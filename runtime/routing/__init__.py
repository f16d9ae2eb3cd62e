"""Which of several engines serves a session."""
