"""The tables of a trace: schema, files, sessions, splits, and facts about prompts and arguments."""
