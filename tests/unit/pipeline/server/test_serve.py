import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import Environment

from augserve.pipeline.server.serve import TEMPLATE, serve_command


def test_the_command_has_the_hook_and_the_bundle(tmp_path: Path) -> None:
    command = serve_command(tmp_path, tmp_path, 8123)
    assert "augserve.runtime.AugServeScheduler" in command
    assert str(tmp_path) in command[command.index("--additional-config") + 1]
    assert "8123" in command


@pytest.mark.parametrize("with_tools", [True, False])
def test_the_template_shows_tools_calls_and_results(with_tools: bool) -> None:
    call = {"id": "1", "function": {"name": "sql", "arguments": {"query": 'SELECT "1"'}}}
    messages = [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    tools = [{"type": "function", "function": {"name": "sql"}}] if with_tools else None
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text())  # as transformers
    prompt = template.render(messages=messages, tools=tools, add_generation_prompt=True)
    assert prompt.count("<|im_start|>") == prompt.count("<|im_end|>") + 1 == 5
    assert prompt.endswith("<|im_start|>assistant\n")
    assert ("<tools>" in prompt) == with_tools
    called = re.findall(r"<tool_call>\n(.*)\n</tool_call>", prompt)[-1]
    assert json.loads(called) == {"name": "sql", "arguments": {"query": 'SELECT "1"'}}
    assert "<tool_response>\n42\n</tool_response>" in prompt


def test_outside_of_a_clone_the_command_prints_one_line_and_fails(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "augserve.pipeline.server.serve"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: params.yaml: ")
    assert ended.stderr.count("\n") == 1
