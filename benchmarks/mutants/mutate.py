"""One-line changes of a module that a test should notice, found in its syntax tree.

Not mutated are strings and the code that builds them, type hints, decorators, assertions, `__repr__`, options without
an effect on results (`strict=`, `repr=`), code that only affects speed (`independent`, whether a device is a GPU), and
the contents of exceptions: a raise statement may be removed as a whole, but its message is not changed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SMALL = 16  # whole numbers up to this one are increased by one
OPPOSITE: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.Gt, ast.GtE: ast.Lt,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
BOUNDARY: dict[type[ast.AST], type[ast.AST]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
TWINS = [("min", "max"), ("argmin", "argmax"), ("any", "all"), ("clamp_min", "clamp_max"), ("amin", "amax")]
RENAMED = {a: b for pair in TWINS for a, b in (pair, pair[::-1])}
DROPPED = ("abs", "square", "detach", "clamp", "clamp_", "clamp_min", "clamp_max", "sqrt", "nan_to_num", "neg")
OPTIONAL = ("dim", "reduction", "seed", "unbiased", "keepdim", "default", "key", "reverse")
DECORATION = ("strict", "repr", "eq", "hash", "compare", "encoding", "kw_only")


@dataclass(frozen=True)
class Mutant:
    """A mutant: one change of one module.

    Args:
        module: Path relative to `src/gradaudit`.
        number: Number of the change, from 0 in the order of the syntax tree.
        line: First line of the changed code.
        end: Last line of the changed code.
        operator: The kind of change.
        before: The statement, or its head, on one line.
        after: The changed statement.
    """

    module: str
    number: int
    line: int
    end: int
    operator: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} [{self.operator}] {' → '.join(self.shown())}"

    def shown(self, around: int = 45) -> tuple[str, str]:
        """Return `before` and `after`, each with `around` characters on either side of the difference."""
        first = _alike(self.before, self.after)
        last = _alike(self.before[first:][::-1], self.after[first:][::-1])
        cut = max(0, first - around)
        return tuple(text[cut : max(first, len(text) - last) + around] for text in (self.before, self.after))  # type: ignore[return-value]


def _alike(one: str, other: str) -> int:
    """Return the number of equal characters from the start."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@dataclass
class Change:
    """A replacement of one node, `parent.field` or `parent.field[index]`, by another."""

    operator: str
    at: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    new: ast.AST | object

    def apply(self) -> Callable[[], None]:
        """Make the change, and return a function that undoes it."""
        if self.index is None:
            old = getattr(self.parent, self.field)
            setattr(self.parent, self.field, self.new)
            return lambda: setattr(self.parent, self.field, old)
        place, old = getattr(self.parent, self.field), getattr(self.parent, self.field)[self.index]
        place[self.index : self.index + 1] = [] if self.new is None else [self.new]

        def undo() -> None:
            place[self.index : self.index + (self.new is not None)] = [old]  # type: ignore[operator]

        return undo


def mutants(module: str, source: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines."""
    tree, found = ast.parse(source), []
    for number, (statement, change) in enumerate(_all(tree)):
        gone = change.operator == "leave out"
        before, undo = _head(change.at if gone else statement), change.apply()
        after = "pass" if gone else _head(statement)
        undo()
        line, end = change.at.lineno, change.at.end_lineno  # type: ignore[attr-defined]
        if isinstance(change.at, ast.stmt) and not isinstance(change.at, ast.Expr | ast.Raise | ast.AugAssign):
            end = line
        found.append(Mutant(module, number, line, end, change.operator, before, after))
    return found


def mutated(source: str, number: int) -> ast.Module:
    """Return the syntax tree of a module with one change."""
    tree = ast.parse(source)
    for place, (_, change) in enumerate(_all(tree)):
        if place == number:
            change.apply()
            return ast.fix_missing_locations(tree)
    raise IndexError(number)


def _head(statement: ast.AST) -> str:
    text = ast.unparse(statement)
    if not isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.If | ast.For | ast.While | ast.With | ast.Try):
        return " ".join(text.split())
    return next(line for line in text.splitlines() if not line.startswith("@")).strip()


def _all(tree: ast.Module) -> list[tuple[ast.AST, Change]]:
    return [(statement, change) for statement, node in _nodes(tree) for change in _changes(statement, node)]


def _nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield every node that may be changed, with its statement."""

    def walk(node: ast.AST, statement: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        for field, child in _children(node):
            inside = child if isinstance(child, ast.stmt) else statement
            if _kept(node, field, child):
                continue
            yield inside, child
            if not isinstance(child, ast.Raise):
                yield from walk(child, inside)

    yield tree, tree
    yield from walk(tree, tree)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield field, child


def _kept(parent: ast.AST, field: str, node: ast.AST) -> bool:
    """Return whether a node and its children are not mutated."""
    if field in ("decorator_list", "annotation", "returns", "bases", "type_params"):
        return True
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert | ast.JoinedStr | ast.Delete):
        return True
    if isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "__str__"):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Compare) and any(
        isinstance(side, ast.Constant) and side.value == "cuda" for side in node.comparators
    ):
        return True
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "independent":
        return True
    if isinstance(node, ast.keyword) and node.arg in DECORATION:
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join"):
        return True
    if isinstance(parent, ast.IfExp) and field == "test":  # the choice between two texts
        return _wording(parent.body) and _wording(parent.orelse)
    return isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets)


def _wording(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _changes(statement: ast.AST, node: ast.AST) -> Iterator[Change]:
    """Yield the changes of the children of `node`, and of its own parts."""
    yield from _statements(node)
    yield from _operators(node)
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _kept(node, field, child):
                for operator, new in _instead(child):
                    yield Change(operator, child, node, field, index, new)


def _statements(node: ast.AST) -> Iterator[Change]:
    body_fields = [name for name in ("body", "orelse", "finalbody") if isinstance(getattr(node, name, None), list)]
    for name in body_fields:
        for index, child in enumerate(getattr(node, name)):
            called = isinstance(child, ast.Expr) and isinstance(child.value, ast.Call)
            if called or isinstance(child, ast.Raise | ast.AugAssign):
                gone = ast.copy_location(ast.Pass(), child)
                yield Change("leave out", child, node, name, index, gone)
    if isinstance(node, ast.Return) and isinstance(node.value, ast.BinOp) and not _of_words(node.value):
        yield Change("first operand", node, node, "value", None, node.value.left)
    if isinstance(node, ast.Return) and isinstance(node.value, ast.BoolOp):
        yield Change("first operand", node, node, "value", None, node.value.values[0])


def _operators(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for index, one in enumerate(node.ops):
            sides = (node.left, *node.comparators)
            whole = type(one) in BOUNDARY and any(map(_whole, sides[index : index + 2]))
            new = (BOUNDARY if whole else OPPOSITE).get(type(one))
            if new is not None:
                yield Change("boundary" if whole else "comparison", node, node, "ops", index, new())
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPPOSITE and not _of_words(node):
        yield Change("arithmetic", node, node, "op", None, OPPOSITE[type(node.op)]())
    if isinstance(node, ast.BoolOp):
        yield Change("and/or", node, node, "op", None, OPPOSITE[type(node.op)]())
    if isinstance(node, ast.Call):
        for index, one in enumerate(node.keywords):
            if one.arg in OPTIONAL:
                yield Change(f"without {one.arg}=", one, node, "keywords", index, None)


def _whole(node: ast.AST) -> bool:
    """Return whether one side of a comparison is certainly a whole number."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("len", "int")


def _of_words(node: ast.BinOp | ast.AugAssign) -> bool:
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    listed = (ast.Tuple, ast.List, ast.ListComp, ast.JoinedStr)
    return any(_wording(side) or isinstance(side, listed) for side in sides)


def _instead(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the possible replacements of an expression."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield "without sign or not", node.operand
    elif isinstance(node, ast.Constant):
        yield from (
            (f"{node.value} to {new}", ast.copy_location(ast.Constant(new), node)) for new in _other(node.value)
        )
    elif isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in DROPPED and not _is_module(function.value):
            yield f"without .{function.attr}", function.value
        if isinstance(function, ast.Name) and function.id in ("abs", "sorted", "reversed") and node.args:
            yield f"without {function.id}", node.args[0]
        if isinstance(function, ast.Attribute) and function.attr in RENAMED:
            renamed = ast.Attribute(function.value, RENAMED[function.attr], function.ctx)
            yield "min/max", ast.copy_location(ast.Call(renamed, node.args, node.keywords), node)
        if isinstance(function, ast.Name) and function.id in RENAMED:
            renamed = ast.Name(RENAMED[function.id], function.ctx)
            yield "min/max", ast.copy_location(ast.Call(renamed, node.args, node.keywords), node)


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "math", "np")


def _other(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int) and 0 <= value <= SMALL:
        return [1 - value if value < 2 else value + 1]
    if isinstance(value, float) and 0.01 <= value <= SMALL:
        return [value + 1]
    return []
