"""Benchmark `import`: seconds and peak memory of importing the public traces, and a stream larger than memory.

Each import is a separate process with its own peak. The stream comes through standard input; only its import is written
to disk, and removed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage

from .measure import usage_of, write_figures
from .synthetic_traces import claude_code_lines, mooncake_lines

PUBLIC = Path("../shared/data")
FORMATS = {
    "infercept-mix": "infercept",
    "claude-code-swe": "claude-code",
    "kv-cache-sessions": "kv-cache-tester",
    "azure-conv": "azure",
    "mooncake-conv": "mooncake",
}
STREAMS: dict[str, Callable[[int], bytes]] = {"mooncake": mooncake_lines, "claude-code": claude_code_lines}
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream-gb", type=float, default=5.0, help="size of each synthetic stream (default: 5)")
    parser.add_argument("--scratch", type=Path, help="folder for the imports (default: the system's)")
    arguments = parser.parse_args()
    figures: Figures = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        if PUBLIC.is_dir():
            figures |= _public(Path(folder))
        else:
            print(f"{PUBLIC}: no such folder; the public traces are not measured")
        for name, lines in STREAMS.items():
            figures |= _stream(Path(folder), name, lines, int(arguments.stream_gb * 1e9))
    write_figures("import", figures)


def _public(folder: Path) -> Figures:
    """Every set of ../shared/data in sequence, with exact token counts if a tokenizer exists."""
    figures: Figures = {}
    tokenizer = ["--tokenizer", str(paths.TOKENIZER)] if paths.TOKENIZER.is_file() else []
    peaks = []
    for name, format_name in FORMATS.items():
        command = _command(format_name, PUBLIC / name, folder / name) + tokenizer
        start = time.perf_counter()
        peaks.append(usage_of(subprocess.Popen(command)).peak_mb)
        figures[f"{name}_s"] = round(time.perf_counter() - start, 1)
    figures["all_public_s"] = round(sum(figures.values()), 1)
    figures["all_public_peak_mb"] = max(peaks)
    figures["all_public_exact_tokens"] = float(bool(tokenizer))
    return figures


def _stream(folder: Path, name: str, lines: Callable[[int], bytes], size_bytes: int) -> Figures:
    start = time.perf_counter()
    command = _command(name, Path("/dev/stdin"), folder / f"{name}-stream")
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    with suppress(BrokenPipeError), cast(BinaryIO, process.stdin) as stream:  # if broken, the exit code tells the cause
        for part in _until(lines, size_bytes):
            stream.write(part)
    megabytes = usage_of(process).peak_mb
    return {
        f"{name}_stream_gb": size_bytes / 1e9,
        f"{name}_stream_s": round(time.perf_counter() - start, 1),
        f"{name}_stream_peak_mb": megabytes,
    }


def _until(lines: Callable[[int], bytes], size_bytes: int) -> Iterator[bytes]:
    written = 0
    for number in count():
        part = lines(number)
        written += len(part)
        yield part
        if written >= size_bytes:
            return


def _command(format_name: str, path: Path, out: Path) -> list[str]:
    cli = [sys.executable, "-m", "augserve.pipeline.cli.__main__"]
    return [*cli, "import", format_name, str(path), "--out", str(out)]


if __name__ == "__main__":
    run_stage(main)
