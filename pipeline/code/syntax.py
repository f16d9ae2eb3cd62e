"""A module's code as it runs: its definitions without comments, docstrings and layout, and what each of them names.

Text to be parsed again and read in a diff. The runtime's fingerprints of vLLM (runtime/vllm_compat/fingerprints.py) are
another form on purpose: hashes that are stored, and so must be the same under every version of Python.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PARTS = ("data", "features", "models", "runtime", "pipeline")

Name = tuple[str, str | None]
"""A module, dotted below the package, and a name at its top level; None: all of it."""


class CodeGraphError(ValueError):
    """A name of the project's own code leads nowhere: the code is broken, or is not what this reader knows."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A statement at a module's top level: its text, the names it binds (none: it runs for its effect), and those that
    it uses."""

    text: str
    binds: frozenset[str]
    uses: frozenset[str]
    imports: frozenset[Name]  # inside functions


@dataclass(frozen=True, slots=True)
class Module:
    definitions: tuple[Definition, ...]
    bound: frozenset[str]  # by any of the definitions
    imports: Mapping[str, Name | None]  # at the top level; None: of other code


def parse(path: Path, package: str) -> Module:
    """A module's code; `package` is what its relative imports start from. Raises CodeGraphError."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise CodeGraphError(f"{path}: {error}") from error
    imports: dict[str, Name | None] = {}
    definitions = []
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports |= _imported(statement, package)
        elif not _never_runs(statement) and not _is_text(statement):
            definitions.append(definition_of(statement, package))
    return Module(tuple(definitions), frozenset().union(*(one.binds for one in definitions)), imports)


def definition_of(statement: ast.stmt, package: str) -> Definition:
    bare: ast.stmt = statement
    _Bare().visit(bare)
    if isinstance(bare, ast.AnnAssign) and bare.value is not None:
        bare = ast.copy_location(ast.Assign([bare.target], bare.value), bare)
    nodes = list(ast.walk(bare))
    inner = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    uses = {node.id for node in nodes if isinstance(node, ast.Name)}
    imports = {target for node in inner for target in _imported(node, package).values() if target is not None}
    return Definition(ast.unparse(bare), frozenset(_binds(bare)), frozenset(uses), frozenset(imports))


def _binds(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Expr):
        return set()
    nodes = list(ast.walk(statement))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    aliases = [alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    return stored | defined | {alias.asname or alias.name for alias in aliases}  # imported in a `try`, say


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, Name | None]:
    """Local name → what of the project it is, None for other code. The project's own imports are relative ones."""
    names = {alias.asname or alias.name: alias.name for alias in statement.names}
    if isinstance(statement, ast.Import) or not statement.level:
        return dict.fromkeys(names)
    parts = package.split(".")
    parts = [*parts[: len(parts) - statement.level + 1], *(statement.module or "").split(".")]
    origin = ".".join(filter(None, parts))
    whole = {name: (name, None) for name in PARTS}
    return {local: (origin, name) if origin else whole.get(name) for local, name in names.items()}


def _never_runs(statement: ast.stmt) -> bool:
    """What is for the type checker, and what runs a module as a program: a program's start is its `main`."""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id in ("TYPE_CHECKING", "__name__") for node in ast.walk(statement.test)
    )


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class _Bare(ast.NodeTransformer):
    """Takes docstrings and the annotations of functions away. Those of a class stay: dataclasses read them."""

    def visit(self, node: ast.AST) -> ast.AST:
        super().visit(node)  # changes the node itself
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and any(map(_is_text, block)):
                kept = [statement for statement in block if not _is_text(statement)]
                setattr(node, name, kept or [ast.Pass()])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in filter(None, every):
            argument.annotation = None
        self.generic_visit(node)
        return node
