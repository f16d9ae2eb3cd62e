"""Paths that several stages share, relative to the project's root. A stage's own reports are named in the stage."""

from pathlib import Path

MODEL = Path("models/smollm2")
TOKENIZER = MODEL / "tokenizer.json"
TRACES = Path("data/traces")
GATHERED_TRACES = TRACES / "gathered"
PUBLIC_TRACES = TRACES / "public"
TRAINING = Path("data/training")
TRAINED = Path("models/trained")
TRAINING_SUMMARY = TRAINED / "summary.json"
TOOL_TABLES = TRAINED / "tool_tables.json"
ONNX = Path("models/onnx")
PROFILES = Path("data/profiles")
TUNED = Path("models/tuned")
TUNED_SETTINGS = TUNED / "scheduler.json"
CHAMPION = Path("models/champion.json")
TUNED_CAPACITY = TUNED / "capacity.json"
SELECTION = TUNED / "selection.json"
CELLS = Path("data/cells")
BUNDLE = Path("models/bundle")

REPORTS = Path("reports")
TRAINING_REPORTS = REPORTS / "train"
TRAINING_METRICS = TRAINING_REPORTS / "metrics.json"
TUNING_REPORTS = REPORTS / "tune"
EVALUATION_REPORTS = REPORTS / "evaluate"
EVALUATION_METRICS = EVALUATION_REPORTS / "metrics.json"
PAGE = REPORTS / "index.html"
