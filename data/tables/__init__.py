"""What a trace is: its schema, its files, its splits, and what is recorded of prompts and arguments."""
