"""Early refusal: beyond an expected wait, a newcomer is refused before it is queued."""
