"""Which paused sessions keep their KV blocks: the policy, the pins, and the keeper that applies both."""
