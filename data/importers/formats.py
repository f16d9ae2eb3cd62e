"""The formats that can be imported, by name."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from .contract import Importer
from .reading.problems import ImportingError


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    module: str  # in this folder; its `import_records` is the importer
    suffixes: tuple[str, ...]  # of its files inside folders and archives, without compression
    meaning: str
    numbered: bool = False  # the importer numbers the sessions itself, of one turn each, so there are no duplicates
    restarts: bool = False  # a session's turn numbers may begin again (data/tables/restarts.py)

    @property
    def importer(self) -> Importer:
        """Imports the format's module."""
        return cast(Importer, importlib.import_module(f".{self.module}", __package__).import_records)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Format("augserve", "augserve", (".parquet",), "AugServe's own recordings", restarts=True),
            Format("claude-code", "claude_code.importer", (".jsonl",), "session files of Claude Code"),
            Format("infercept", "infercept", (".json",), "the six-augmentation workload of InferCept and MARS"),
            Format("kv-cache-tester", "kv_cache_tester.importer", (".json",), "sessions of kv-cache-tester"),
            Format("mlperf-agentic", "mlperf_agentic.importer", (".jsonl",), "MLPerf Endpoints' agentic conversations"),
            Format("mooncake", "mooncake", (".jsonl",), "Mooncake's request traces", numbered=True),
            Format("azure", "azure", (".csv",), "Azure's LLM inference traces", numbered=True),
            Format("otel", "otel.importer", (".json", ".jsonl"), "OpenTelemetry spans of generative AI"),
        )
    }
)


def format_named(name: str) -> Format:
    """Raises ImportingError for an unknown name."""
    if name not in FORMATS:
        raise ImportingError(f"{name!r}: unknown format; known are {', '.join(FORMATS)}")
    return FORMATS[name]
