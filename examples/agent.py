"""An agent with one tool: asks a server that AugServe schedules, and prints what AugServe made of the session.

    make serve                      # in one terminal
    .venv/bin/python examples/agent.py

It needs the package `openai`. The tool, a calculator, runs here.
"""

import argparse
import ast
import json
import operator
import os
import time
import urllib.request
import uuid
from typing import Any

from openai import DefaultHttpxClient, OpenAI

QUESTION = "How much is 17 * 23 + 4? Use the calculator."
TURNS = 3
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculate",
        "description": "The value of an arithmetic expression.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "such as 2 * (3 + 4)"}},
            "required": ["expression"],
        },
    },
}
OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
SHOWN = {
    "augserve_predictions_total": "turns predicted",
    'augserve_prompt_tokens_total{part="cached"': "prompt tokens found in the cache",
    'augserve_prompt_tokens_total{part="new"': "new prompt tokens computed",
    'augserve_prompt_tokens_total{part="again"': "prompt tokens computed again",
    'augserve_context_decisions_total{decision="preserve"': "contexts kept for the next turn",
    'augserve_pins_released_total{by="hit"': "kept contexts that the next turn used",
}
"""A metric and a label → its meaning."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="root of the server (default %(default)s)")
    url = parser.parse_args().url.rstrip("/")
    key = os.environ.get("OPENAI_API_KEY", "-")
    with OpenAI(base_url=f"{url}/v1", api_key=key, http_client=DefaultHttpxClient(trust_env=False)) as client:
        before = counters(url)
        converse(client, session=f"example-{uuid.uuid4()}")
    time.sleep(2.0)  # engines publish their metrics once a second
    after = counters(url)
    if not after:
        print("\nThis server has no metrics of AugServe: it schedules alone.")
    for name, meaning in SHOWN.items():
        print(f"{after.get(name, 0.0) - before.get(name, 0.0):8,.0f}  {meaning}")


def converse(client: OpenAI, session: str) -> None:
    """Ask, run the tool, and let the model answer. All turns name the session."""
    model = client.models.list().data[0].id
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    print(f"session {session}\nuser: {QUESTION}")
    for turn in range(TURNS):
        # A small model seldom calls a tool by itself, so the first turn has to.
        choice: Any = "required" if turn == 0 else "auto" if turn < TURNS - 1 else "none"
        stream = client.chat.completions.create(
            model=model,
            messages=messages,
            tools=[CALCULATOR],  # type: ignore[list-item]
            tool_choice=choice,
            max_tokens=96,
            temperature=0.0,
            stream=True,
            extra_headers={"X-Session-ID": session},
        )
        text, calls = collect(stream)
        messages.append({"role": "assistant", "content": text or None, "tool_calls": calls or None})
        if not calls:
            return
        for call in calls:
            result = calculate(call["function"]["arguments"])
            print(f"tool: {call['function']['name']}({call['function']['arguments']}) = {result}")
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def collect(stream: Any) -> tuple[str, list[dict[str, Any]]]:
    """The text, printed as it comes, and the tool calls of a stream."""
    text, calls = "", dict[int, dict[str, Any]]()
    for chunk in stream:
        delta = chunk.choices[0].delta if chunk.choices else None
        if delta is None:
            continue
        if delta.content:
            print("assistant: " * (not text) + delta.content, end="", flush=True)
            text += delta.content
        for part in delta.tool_calls or ():
            empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = calls.setdefault(part.index, empty)
            call["id"] = part.id or call["id"]
            call["function"]["name"] += part.function.name or ""
            call["function"]["arguments"] += part.function.arguments or ""
    print(end="\n" * bool(text))
    return text, [calls[index] for index in sorted(calls)]


def calculate(arguments: str) -> str:
    """The result of a call, or what is wrong with it, for the model to read."""
    try:
        return str(value(ast.parse(json.loads(arguments)["expression"], mode="eval").body))
    except (ArithmeticError, KeyError, SyntaxError, TypeError, ValueError) as error:
        return f"error: {type(error).__name__}: {error}"


def value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](value(node.left), value(node.right))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](value(node.operand))
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def counters(url: str) -> dict[str, float]:
    """The server's metrics that SHOWN names, summed over engines; empty without AugServe."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        sample, _, number = line.rpartition(" ")
        for name in SHOWN:
            metric, _, label = name.partition("{")
            if sample.startswith(f"{metric}{{") and label in sample:
                found[name] = found.get(name, 0.0) + float(number)
    return found


if __name__ == "__main__":
    main()
