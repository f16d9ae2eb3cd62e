"""Stage `cards`: what each set of traces holds."""
