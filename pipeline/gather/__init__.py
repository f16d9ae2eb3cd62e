"""Stage `gather`: agent sessions against an OpenAI server: a suite of tasks, tools that really run, and the client."""
