"""Write the generated tables of the site into build/docs/, from the code that validates each configuration.

`make docs` runs this before Zensical, which includes the tables by name.
"""

import ast
import dataclasses
import importlib
import inspect
import io
import json
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project.params import PARAMS_FILE, Section
from augserve.pipeline.simulator.catalogue import SIMULATED
from augserve.runtime.deployment import Deployment
from augserve.runtime.vllm_compat.serve.combinations import COMBINATIONS
from deploy.panels import ROWS

OUTPUT = Path("build/docs")
STAGES = ("model", "gather", "prepare", "train", "export", "profile", "tune", "evaluate", "package")
SECTION_MODULES = (
    *(f"augserve.pipeline.{stage}.run" for stage in STAGES),
    *(
        "augserve.pipeline.project.trace_sources",
        "experiments.compare",
        "experiments.sessions.params",
        "experiments.information.params",
    ),
    *("experiments.fidelity.params", "experiments.fidelity.live"),
)
SAME_KEYS = {"tune_long": "tune", "compare": "evaluate"}
"""Sections whose keys another section describes."""
Schema = Mapping[str, Any]
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
HEADER = "| key | {} | type | description |\n|---|---|---|---|\n"


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    write("deployment", HEADER.format("default") + "".join(field_rows(Deployment)))
    write("scheduler", HEADER.format("default") + "".join(field_rows(SchedulerSettings)))
    write("params", "\n".join(params_tables(PARAMS_FILE.read_text(encoding="utf-8"))))
    rows = (
        row(f"`{policy.name}`", policy.description, policy.source or "–")
        for policy in SIMULATED.values()
        if not policy.oracle
    )
    write("policies", "| policy | description | source |\n|---|---|---|\n" + "".join(rows))
    write("panels", "| panel | what to do |\n|---|---|\n" + "".join(panel_rows()))
    write("support", "| with | state | by |\n|---|---|---|\n" + "".join(support_rows()))


def write(name: str, text: str) -> None:
    (OUTPUT / f"{name}.md").write_text(text, encoding="utf-8")


def panel_rows() -> Iterator[str]:
    for group in ROWS:
        yield row(f"**{group.title}**", "")
        for panel in group.panels:
            yield row(panel.title, panel.advice)


def support_rows() -> Iterator[str]:
    for used in COMBINATIONS:
        state = f"**{used.state}**" if used.state == "refused" else used.state
        tests = ", ".join(f"`{name}`" for name in used.tests)
        yield row(used.feature, "; ".join(filter(None, [state, used.effect])), tests)


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def field_rows(model: type[Any], prefix: str = "") -> Iterator[str]:
    """One row per field; the fields of nested settings follow by dotted names."""
    schema = TypeAdapter(model).json_schema()
    comments = field_comments(model)
    for name, field in schema["properties"].items():
        nested = nested_model(model, name)
        if nested is not None:
            yield from field_rows(nested, f"{prefix}{name}.")
        else:
            default = "–" if field.get("default") is None else f"`{json.dumps(field['default'])}`"
            description = field.get("description") or comments.get(name, "")
            yield row(f"`{prefix}{name}`", default, kind(field, schema), sentence(description))


def nested_model(model: type[Any], name: str) -> type[Any] | None:
    annotation = inspect.get_annotations(model, eval_str=True).get(name)
    return annotation if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else None


def field_comments(model: type[Any]) -> dict[str, str]:
    """The comment behind each field of a class, or the one above it."""
    source = inspect.getsource(model)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for statement in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            lines = [line for line in comments if statement.lineno <= line <= (statement.end_lineno or 0)]
            above = statement.lineno - 1
            while not lines and above in comments and comments[above].line.lstrip().startswith("#"):
                lines.insert(0, above)
                above -= 1
            found[statement.target.id] = " ".join(comments[line].string.lstrip("# ") for line in lines)
    return found


def kind(field: Schema, schema: Schema) -> str:
    """Type and bounds, such as "number, ≥ 0, ≤ 1"."""
    if "$ref" in field:
        return kind(schema["$defs"][field["$ref"].rsplit("/", 1)[1]], schema)
    if options := field.get("anyOf"):
        return " or ".join(kind(option, schema) for option in options if option.get("type") != "null")
    if names := field.get("enum"):
        return " or ".join(f"`{name}`" for name in names)
    name = field.get("type", "any")
    if name == "array" and isinstance(field.get("items"), Mapping):
        name = f"list of {kind(field['items'], schema)}"
    return ", ".join([name, *(f"{sign} {field[limit]:,.10g}" for limit, sign in LIMITS.items() if limit in field)])


def sentence(text: str) -> str:
    text = text.strip()
    return text if not text else text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def params_tables(text: str) -> Iterator[str]:
    """A table per section of params.yaml: values and comments from the file, types from the section's model."""
    for module in SECTION_MODULES:
        importlib.import_module(module)
    models = {model.SECTION: model for model in sections(Section)}
    for section, values in yaml.safe_load(text).items():
        model = models["tune" if section == "tune_long" else section]
        schema = TypeAdapter(model).json_schema()
        comments = yaml_comments(text, SAME_KEYS.get(section, section)) | yaml_comments(text, section)
        yield f"### {section}\n"
        rows = (
            row(f"`{key}`", shown(value), kind(schema["properties"][key], schema), comments.get(key, ""))
            for key, value in values.items()
        )
        yield HEADER.format("value") + "".join(rows)


def sections(model: type[Section]) -> Iterator[type[Section]]:
    for child in model.__subclasses__():
        if hasattr(child, "SECTION"):
            yield child
        yield from sections(child)


def yaml_comments(text: str, section: str) -> dict[str, str]:
    """The comment above each key of a section."""
    found: dict[str, str] = {}
    comment: list[str] = []
    inside = False
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            inside, comment = line == f"{section}:", []
        elif inside and line.startswith("  #"):
            comment.append(line.lstrip("# "))
        elif inside and line.startswith("  ") and line[2] not in " -#" and ":" in line:
            if comment:
                found[line.split(":", 1)[0].strip()] = " ".join(comment)
            comment = []
    return found


def shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 80 else "see the file"


if __name__ == "__main__":
    main()
