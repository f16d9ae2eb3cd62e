"""What a caller tells of a turn, and what the middleware reads off a request for it."""
