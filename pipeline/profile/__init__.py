"""Stage `profile` and `make profile-gpu`: how long an engine's step takes, from measurements."""
