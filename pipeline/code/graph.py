"""Which code a function runs: the definitions that it names, those that they name, and so on through all modules.

Nothing is imported. The text is the same whatever comments, docstrings, annotations of functions and layout say, so
that a stage or a simulation is run anew when what it does has changed, and only then.
"""

import ast
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .syntax import PARTS, CodeGraphError, Definition, Module, Name, definition_of, parse

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class CodeGraph:
    """The project's modules below `root`, each parsed when it is first asked for."""

    root: Path = ROOT
    _parsed: dict[str, Module] = field(default_factory=dict)

    @cached_property
    def modules(self) -> Mapping[str, Path]:
        """Dotted name → file."""
        paths = [path for part in PARTS for path in (self.root / part).rglob("*.py")]
        return {_dotted(path.relative_to(self.root)): path for path in sorted(paths)}

    def text(self, starts: Iterable[Name], without: Collection[Name] = ()) -> str:
        """The code that the starts run, module by module. What `without` names is neither told nor followed, whole
        modules where it names no definition. Raises CodeGraphError."""
        parts = []
        for module, places in sorted(self.reached(starts, without).items()):
            definitions = self.module(module).definitions
            parts += [f"# {module}", *(definitions[place].text for place in sorted(places))]
        return "\n".join(parts) + "\n"

    def plain(self, module: str) -> str:
        """A module's own code, nothing followed. Raises CodeGraphError."""
        return "\n".join(definition.text for definition in self.module(module).definitions)

    def reached(self, starts: Iterable[Name], without: Collection[Name] = ()) -> dict[str, set[int]]:
        """Module → indices of its definitions that the starts run, their own among them. Raises CodeGraphError."""
        found: dict[str, set[int]] = {}
        asked: set[Name] = set()
        open_names = list(starts)
        while open_names:
            name = open_names.pop()
            if name in asked or name in without or (name[0], None) in without:
                continue
            asked.add(name)
            module = self.module(name[0])
            places = self._places(module, name)
            if name[1] is not None and name[1] not in module.bound:
                open_names += self._elsewhere(module, name)
            for place in places - found.setdefault(name[0], set()):
                found[name[0]].add(place)
                open_names += self._followed(name[0], module, module.definitions[place])
        return {module: places for module, places in found.items() if places}

    def module(self, name: str) -> Module:
        """Raises CodeGraphError for a module that is not the project's."""
        if name not in self._parsed:
            if name not in self.modules:
                raise CodeGraphError(f"{name}: there is no such module in {', '.join(PARTS)}")
            path = self.modules[name]
            self._parsed[name] = parse(path, name if path.name == "__init__.py" else name.rpartition(".")[0])
        return self._parsed[name]

    def narrowed(self, name: Name, keys: Collection[str]) -> "CodeGraph":
        """The same code, but that the mapping of a name holds the entries of these keys alone; its `**` entries only
        where a key is not among the others. Raises CodeGraphError where the name is not written out as a mapping."""
        module = self.module(name[0])
        definitions = [self._narrowed(name, definition, set(keys)) for definition in module.definitions]
        known = {**self._parsed, name[0]: Module(tuple(definitions), module.bound, module.imports)}
        return CodeGraph(self.root, known)

    def _narrowed(self, name: Name, definition: Definition, keys: set[str]) -> Definition:
        if name[1] not in definition.binds:
            return definition
        statement = ast.parse(definition.text).body[0]
        value = statement.value if isinstance(statement, ast.Assign) else None
        if not isinstance(value, ast.Dict):
            raise CodeGraphError(f"{self.modules[name[0]]}: {name[1]} is not written out as a mapping")
        entries = list(zip(value.keys, value.values, strict=True))
        told = [(None if key is None else self._constant(name[0], key), key, entry) for key, entry in entries]
        rest = keys - {text for text, _, _ in told if text is not None}
        kept = [(key, entry) for text, key, entry in told if text in keys or (key is None and rest)]
        value.keys, value.values = [key for key, _ in kept], [entry for _, entry in kept]
        return definition_of(statement, name[0].rpartition(".")[0])

    def _constant(self, module_name: str, expression: ast.expr) -> str | None:
        """The text that an expression stands for, itself or by a name; None: it is not known without running it."""
        if isinstance(expression, ast.Constant):
            return expression.value if isinstance(expression.value, str) else None
        if not isinstance(expression, ast.Name):
            return None
        module = self.module(module_name)
        origin = module.imports.get(expression.id)
        if origin is not None:
            return self._constant(origin[0], ast.Name(str(origin[1])))
        found = [ast.parse(one.text).body[0] for one in module.definitions if expression.id in one.binds]
        return self._constant(module_name, found[0].value) if found and isinstance(found[0], ast.Assign) else None

    def _places(self, module: Module, name: Name) -> set[int]:
        """Of what binds the name, and of what runs at the module's import."""
        return {
            place
            for place, definition in enumerate(module.definitions)
            if name[1] is None or name[1] in definition.binds or not definition.binds
        }

    def _elsewhere(self, module: Module, name: Name) -> list[Name]:
        """Where a name comes from that no definition of the module binds."""
        if name[1] in module.imports:
            origin = module.imports[str(name[1])]
            return [] if origin is None else [origin]
        if f"{name[0]}.{name[1]}" in self.modules:
            return [(f"{name[0]}.{name[1]}", None)]
        raise CodeGraphError(
            f"{self.modules[name[0]]}: it defines no {name[1]!r}, and other code imports it from there"
        )

    def _followed(self, module_name: str, module: Module, definition: Definition) -> list[Name]:
        known = definition.uses & (module.bound | module.imports.keys())
        return [(module_name, name) for name in known] + list(definition.imports)


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")
