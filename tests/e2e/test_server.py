"""A real vLLM server with the hook, driven as its users do: by the `openai` client and by HTTP."""

import asyncio
import json
import re
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from augserve.pipeline.gather.tools.python import PythonTool
from augserve.pipeline.operate.finding import is_good
from augserve.pipeline.operate.running_server import check_running, scrape
from augserve.pipeline.server.process import MODEL_NAME, Server, ServerError, hook_arguments, vllm_server
from deploy.panels import ROWS

from .conftest import REFUSE_AFTER_S, SEATS
from .faults import KEY_HEADER
from .monitoring import prometheus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test pays for the server's start

PROMETHEUS = shutil.which("prometheus")
QUESTION = {"role": "user", "content": "Is 17 an odd number? Answer yes or no."}
CALL = {"id": "call_0", "type": "function", "function": {"name": "python", "arguments": '{"code": "print(17 % 2)"}'}}


def metrics(server: Server) -> dict[str, float]:
    """The samples of /metrics, summed over their labels."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{server.url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    samples: dict[str, float] = {}
    for line in lines:
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            key = name.split("{", 1)[0]
            samples[key] = samples.get(key, 0.0) + float(value)
    return samples


def test_a_plain_request_is_answered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL_NAME, messages=[QUESTION], max_tokens=16)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_a_streaming_request_is_answered(client: OpenAI) -> None:
    stream = client.chat.completions.create(model=MODEL_NAME, messages=[QUESTION], max_tokens=16, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_prompts_whose_tokens_are_drawn_by_a_seed_are_answered_beside_a_decode(client: OpenAI) -> None:
    """vLLM's engine on a CPU dies if a step computes a part of such a prompt."""
    long = {"max_tokens": 400, "extra_body": {"ignore_eos": True}}
    with client.completions.create(model=MODEL_NAME, prompt="Count:", stream=True, **long) as beside:
        assert next(iter(beside)).choices
        for seed in range(4):
            prompt = f"{seed} apples, " * 300
            drawn = client.completions.create(model=MODEL_NAME, prompt=prompt, seed=seed, temperature=1.0, max_tokens=2)
            assert drawn.choices[0].finish_reason == "length"


def test_two_turns_of_a_session_with_a_tool_call_between(client: OpenAI) -> None:
    tools = [PythonTool.specification.to_openai()]
    session = {"X-Session-ID": "e2e"}
    messages = [QUESTION]
    first = client.chat.completions.create(
        model=MODEL_NAME, messages=messages, tools=tools, tool_choice="none", max_tokens=16, extra_headers=session
    )
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content or "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": CALL["id"], "content": "1\n\nSo is it odd?"},
    ]
    second = client.chat.completions.create(
        model=MODEL_NAME, messages=messages, tools=tools, tool_choice="none", max_tokens=16, extra_headers=session
    )
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


def test_metrics_show_augserve_beside_vllm_and_no_fallback(client: OpenAI, server: Server) -> None:
    before = metrics(server)
    client.chat.completions.create(model=MODEL_NAME, messages=[QUESTION], max_tokens=8)
    # The engine publishes its counters once in a while.
    after = wait_for_prediction(server, before.get("augserve_predictions_total", 0.0))
    assert after["vllm:request_success_total"] >= 1
    assert after["augserve_predictions_total"] > before.get("augserve_predictions_total", 0.0)
    assert after.get("augserve_fallbacks_total", 0.0) == 0.0


def wait_for_prediction(server: Server, before: float, attempts: int = 40) -> dict[str, float]:
    found: dict[str, float] = {}
    for _ in range(attempts):
        found = metrics(server)
        if found.get("augserve_predictions_total", 0.0) > before:
            break
        time.sleep(0.5)
    return found


def test_the_log_names_the_bundle_s_version(server: Server, bundle_folder: Path) -> None:
    version = json.loads((bundle_folder / "manifest.json").read_text())["version"]
    assert f"bundle {version}" in server.log.read_text()


def test_a_running_server_tells_its_bundle_and_that_nothing_is_suspended(server: Server, bundle_folder: Path) -> None:
    version = json.loads((bundle_folder / "manifest.json").read_text())["version"]
    findings = list(check_running(scrape(server.url)))
    assert is_good(findings)
    assert f"mode active, bundle {version} since " in findings[0].message


def test_an_overloaded_server_refuses_newcomers_and_queues_none_of_them(server: Server) -> None:
    """More long answers than seats: the rest wait longer than the limit."""
    asyncio.run(overload(server))


async def overload(server: Server) -> None:
    running, waiting = "vllm:num_requests_running", "vllm:num_requests_waiting"
    async with httpx.AsyncClient(base_url=server.base_url, headers=KEY_HEADER, trust_env=False, timeout=120) as client:

        def send(session: str | None) -> asyncio.Task[httpx.Response]:
            body = {"model": MODEL_NAME, "prompt": f"session {session}", "max_tokens": 3_000, "ignore_eos": True}
            headers = {} if session is None else {"X-Session-ID": session}
            return asyncio.create_task(client.post("completions", json=body, headers=headers))

        answers = [send(f"s{number}") for number in range(3 * SEATS)]
        await wait_for(server, lambda found: found.get("augserve_expected_wait_seconds", 0.0) > 2 * REFUSE_AFTER_S)
        chat = client.post("chat/completions", json={"model": MODEL_NAME, "messages": [QUESTION]})
        refused = [await send("new"), await send(None), await chat]
        assert [each.status_code for each in refused] == [429, 429, 429]
        assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
        found = metrics(server)
        assert (found[running], found[waiting]) == (SEATS, 2 * SEATS)
        assert found["augserve_refused_turns_total"] == len(refused)
        answers.append(send("s0"))  # a known session
        await wait_for(server, lambda found: found[waiting] == 2 * SEATS + 1)
        for answer in answers:
            answer.cancel()
        await asyncio.wait(answers)
        await wait_for(server, lambda found: found[running] == found[waiting] == 0)


async def wait_for(server: Server, reached: Callable[[dict[str, float]], bool]) -> None:
    for _ in range(120):
        if reached(metrics(server)):
            return
        await asyncio.sleep(0.25)
    raise AssertionError(metrics(server))


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is missing: apt-get install prometheus")
def test_a_real_prometheus_runs_every_panel_and_every_alert(server: Server, client: OpenAI, tmp_path: Path) -> None:
    with prometheus(str(PROMETHEUS), server, tmp_path) as monitor:
        monitor.wait_for("augserve_info")
        client.chat.completions.create(model=MODEL_NAME, messages=[QUESTION], max_tokens=8)
        monitor.wait_for('rate(augserve_prompt_tokens_total{part="new"}[5m]) > 0')
        known = set(monitor.ask("metadata"))
        for panel in (panel for row in ROWS for panel in row.panels):
            for query in panel.queries:
                monitor.query(query.promql)
                for name in re.findall(r"(?:augserve_|vllm:)\w+", query.promql):
                    assert re.sub(r"_(bucket|count)$", "", name) in known, panel.title
        for panel in ROWS[-1].panels[1:]:
            for query in panel.queries:
                monitor.wait_for(query.promql)
                bundles = {found["metric"]["bundle"] for found in monitor.query(query.promql)}
                assert bundles == {"champion"}, panel.title  # there is no candidate yet
        (group,) = monitor.ask("rules")["groups"]
        assert [(rule["name"], rule["lastError"]) for rule in group["rules"] if rule["health"] != "ok"] == []
        assert [alert for alert in monitor.ask("alerts")["alerts"] if alert["state"] == "firing"] == []


def test_a_server_without_its_bundle_refuses_to_start_and_says_why(model_folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-bundle"
    hook = hook_arguments({"bundle": str(missing)})
    with (
        pytest.raises(ServerError, match=f"no such folder: {missing}") as caught,
        vllm_server(model_folder, log=tmp_path / "log", extra_args=hook),
    ):
        pass
    assert "\n" not in str(caught.value)
