import asyncio
import statistics
from collections.abc import Iterator, Mapping

import pytest

from augserve.pipeline.gather.tools import wait
from augserve.pipeline.gather.tools.box import tool_box
from augserve.pipeline.gather.tools.tool import Tool


@pytest.fixture(scope="module")
def tools() -> Iterator[Mapping[str, Tool]]:
    with tool_box(0.0, 1) as found:
        yield found


def call(tools: Mapping[str, Tool], name: str, **arguments: str | int) -> str:
    return asyncio.run(tools[name].run(arguments))


def test_python_runs_the_program(tools: Mapping[str, Tool]) -> None:
    assert call(tools, "python", code="print(6 * 7)") == "42"


def test_an_error_of_the_program_is_its_result(tools: Mapping[str, Tool]) -> None:
    assert "ZeroDivisionError" in call(tools, "python", code="1 / 0")


def test_sql_queries_the_generated_tables(tools: Mapping[str, Tool]) -> None:
    assert call(tools, "sql_query", query="SELECT count(*) AS n FROM orders") == "n\n60000"


@pytest.mark.parametrize("query", ["SELECT count(*) FROM invoices", "DELETE FROM orders"])
def test_sql_that_fails_or_writes_gives_an_error(tools: Mapping[str, Tool], query: str) -> None:
    assert call(tools, "sql_query", query=query).startswith("error: ")
    assert call(tools, "sql_query", query="SELECT count(*) AS n FROM orders") == "n\n60000"


def test_search_finds_lines_of_the_standard_library(tools: Mapping[str, Tool]) -> None:
    result = call(tools, "code_search", pattern=r"class JSONDecodeError", folder="json")
    assert result.startswith("1 matches\njson/decoder.py:")


@pytest.mark.parametrize("folder", ["no_such_folder", "../..", "/etc"])
def test_search_stays_within_the_library(tools: Mapping[str, Tool], folder: str) -> None:
    assert call(tools, "code_search", pattern="root", folder=folder) == f"error: no folder {folder}"


def test_http_fetches_from_the_loopback_service(tools: Mapping[str, Tool]) -> None:
    assert '"city": "Oslo"' in call(tools, "http_get", path="/weather?city=Oslo")
    assert '"rows": 10' in call(tools, "http_get", path="/report?rows=10")


@pytest.mark.parametrize("path", ["/news", "/weather", "/report?rows=many"])
def test_http_returns_the_service_s_error(tools: Mapping[str, Tool], path: str) -> None:
    assert call(tools, "http_get", path=path).startswith("404 ")


@pytest.mark.parametrize(("name", "mean_s"), [("generate_image", 20.03), ("speak", 17.24), ("ask_user", 28.6)])
def test_waiting_tools_wait_for_the_published_duration_times_the_scale(
    name: str, mean_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []

    async def note(seconds: float) -> None:
        waits_s.append(seconds)

    monkeypatch.setattr(wait.asyncio, "sleep", note)
    with tool_box(0.5, 1) as tools:
        for _ in range(2000):
            call(tools, name)
    assert statistics.mean(waits_s) == pytest.approx(mean_s * 0.5, rel=0.1)


def test_every_tool_has_a_schema_of_the_openai_api(tools: Mapping[str, Tool]) -> None:
    for name, tool in tools.items():
        schema = tool.specification.to_openai()
        assert schema["type"] == "function"
        assert schema["function"]["name"] == name
        assert schema["function"]["parameters"]["required"] == list(tool.specification.parameters)
