import numpy as np
import pyarrow as pa
import pytest

from augserve.data.tables.files import rows_to_table, write_table


@pytest.fixture(scope="session")
def steps_file():
    """Writes a trace's steps."""
    return _write


def _write(path, count, slowness=lambda step: 1.0):
    """Steps of an engine that takes 10 ms + 0.5 ms a prefill token + 2 ms a decode + 1 us a context token."""
    random = np.random.default_rng(1)
    rows = []
    for step in range(count):
        prefill, decodes = int(random.integers(0, 500)), int(random.integers(0, 30))
        context = prefill + decodes * int(random.integers(50, 900))
        seconds = (0.010 + 5e-4 * prefill + 2e-3 * decodes + 1e-6 * context) * slowness(step)
        rows.append(
            {
                "source": "test",
                "step": step,
                "start_s": float(step),
                "prefill_tokens": prefill,
                "decode_sequences": decodes,
                "context_tokens": context,
                "kv_usage": 0.1,
                "waiting": 0,
                "running": decodes,
                "token_budget": 2048,
                "schedule_s": 1e-4,
                "step_s": seconds,
            }
        )
    table: pa.Table = rows_to_table("steps", rows)
    write_table(path, "steps", table)
    return rows
