"""What can be taken out of a module, one at a time: statements, conditions, bounds, operands, elements, keyword arguments."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_BLOCKS = ("body", "orelse", "finalbody")
_BOUNDS: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Raise, ast.Return, ast.Delete, ast.Break, ast.Continue)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_WORDS = ("log", "logger")  # what is called on these is wording, not the guard


@dataclass(frozen=True)
class Mutant:
    """One change. `what` names it without a line number, so that it is found again after an edit elsewhere."""

    where: str  # the function or class, dotted; "" for the module
    line: int
    lines: range  # that run it, for the choice of tests
    what: str
    top: ast.stmt | None  # the statement at the module's or the class's top level that it changes, if it is none of a function
    apply: Callable[[], None]  # change the tree; once, in a process that ends with it


def mutants(tree: ast.Module) -> list[Mutant]:
    return [*_Finder().block(tree, "body", "", None)]


class _Finder:
    """Walks a module. `top` is the statement outside all functions that is being walked, or None within a function."""

    def block(self, parent: ast.AST, field: str, where: str, top: ast.stmt | None) -> Iterator[Mutant]:
        statements: list[ast.stmt] = getattr(parent, field)
        inside = isinstance(parent, _FUNCTIONS) or (top is None and not isinstance(parent, (ast.Module, ast.ClassDef)))
        for index, node in enumerate(statements):
            # `if x: y` without y is `if False: y`.
            alone = len(statements) == 1 and isinstance(parent, ast.If) and field == "body" and not parent.orelse
            yield from self.statement(node, statements, index, where, None if inside else node, alone=alone)

    def statement(
        self, node: ast.stmt, statements: list[ast.stmt], index: int, where: str, top: ast.stmt | None, *, alone: bool
    ) -> Iterator[Mutant]:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            if not (node.name.startswith("__") and node.name.endswith(("repr__", "str__"))):
                yield from self.block(node, "body", f"{where}.{node.name}".lstrip("."), None)
            return
        if _is_words(node) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"):
            return  # nor can a class that lives lose a slot
        lines = range(node.lineno, _header_end(node) + 1)

        def made(what: str, apply: Callable[[], None], line: int = node.lineno) -> Mutant:
            return Mutant(where, line, lines, what, top, apply)

        def put(*new: ast.stmt) -> Callable[[], None]:
            def apply() -> None:
                statements[index : index + 1] = [ast.copy_location(one, node) for one in new]

            return apply

        annotated = isinstance(node, ast.AnnAssign) and node.value is None
        if isinstance(node, _SIMPLE) and not alone and not annotated and (top is None or _is_attribute(node, where)):
            yield made(f"without: {_text(node)}", put(ast.Pass()))
        if isinstance(node, (ast.With, ast.AsyncWith)):
            for number, item in enumerate(node.items):
                rest = [*node.items[:number], *node.items[number + 1 :]]
                apply = _set(node, "items", rest) if rest else put(*node.body)
                yield made(f"without: with {_text(item)}", apply)
        if isinstance(node, (ast.For, ast.AsyncFor)):
            yield made(f"without: for {_text(node.target)} in {_text(node.iter)}", put(ast.Pass()))
        if isinstance(node, ast.Try):
            for number, handler in enumerate(node.handlers):
                rest_of = [*node.handlers[:number], *node.handlers[number + 1 :]]
                apply = _set(node, "handlers", rest_of) if rest_of or node.finalbody else put(*node.body, *node.orelse)
                yield made(f"without: except {_text(handler.type) if handler.type else ''}", apply, handler.lineno)
                if handler.type is not None:
                    yield from self.expressions(handler, "type", handler.type, made)
                yield from self.block(handler, "body", where, None)
        if isinstance(node, ast.Match):
            for number, case in enumerate(node.cases):
                rest_of_cases = [*node.cases[:number], *node.cases[number + 1 :]]
                apply = _set(node, "cases", rest_of_cases) if rest_of_cases else put(ast.Pass())
                yield made(f"without: case {_text(case.pattern)}", apply, case.pattern.lineno)
                yield from self.block(case, "body", where, None)
        for field, value in ast.iter_fields(node):
            if field in _BLOCKS and isinstance(value, list):
                yield from self.block(node, field, where, None if top is None else top)
            elif field not in ("handlers", "cases", "annotation", "targets", "target"):
                yield from self.expressions(node, field, value, made)

    def expressions(self, parent: ast.AST, field: str, value: Any, made: Callable[..., Mutant]) -> Iterator[Mutant]:
        """Of `value`, which is what `field` of `parent` holds."""
        if isinstance(value, list):
            for index, one in enumerate(value):
                if isinstance(one, ast.AST):  # not the names of a `nonlocal`
                    yield from self.expression(parent, one, _at(value, index), made)
        elif isinstance(value, ast.AST):
            yield from self.expression(parent, value, lambda new: setattr(parent, field, new), made)

    def expression(
        self, parent: ast.AST, node: ast.AST, put: Callable[[ast.expr], None], made: Callable[..., Mutant]
    ) -> Iterator[Mutant]:
        if isinstance(node, (ast.JoinedStr, ast.Lambda)) and not isinstance(node, ast.Lambda):
            return  # wording

        def instead(new: ast.expr) -> Mutant:
            return made(f"{_text(node)} -> {_text(new)}", lambda: put(ast.copy_location(new, node)), node_line)

        node_line = getattr(node, "lineno", 0)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant) and _is_condition(parent, node):
            # As an operand, so that a name which the condition binds is still bound.
            yield instead(ast.BoolOp(ast.Or(), [node, ast.Constant(True)]))
            yield instead(ast.BoolOp(ast.And(), [node, ast.Constant(False)]))
        if isinstance(node, ast.BoolOp):
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1 :]]
                yield instead(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
        if isinstance(node, ast.Compare):
            for index, operator in enumerate(node.ops):
                if type(operator) in _BOUNDS:
                    flipped = [*node.ops[:index], _BOUNDS[type(operator)](), *node.ops[index + 1 :]]
                    yield instead(ast.Compare(node.left, flipped, node.comparators))
                if len(node.ops) > 1:
                    operands = [node.left, *node.comparators]
                    gone = index + 1 if index else 0
                    left = operands[:gone] + operands[gone + 1 :]
                    yield instead(ast.Compare(left[0], [*node.ops[:index], *node.ops[index + 1 :]], left[1:]))
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.BitOr):
                yield instead(node.left)
                yield instead(node.right)
            elif isinstance(node.op, (ast.Add, ast.Sub)) and isinstance(node.right, ast.Constant):
                yield instead(node.left)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and len(node.args) > 1:
                yield from map(instead, node.args)
            for index, keyword in enumerate(node.keywords):
                if not _is_constant_words(keyword.value):
                    rest_of = [*node.keywords[:index], *node.keywords[index + 1 :]]
                    what = f"{_text(node.func)}(...) without {_text(keyword)}"
                    yield made(what, _set(node, "keywords", rest_of), keyword.value.lineno)
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and _is_collection(parent, node):
            for index, element in enumerate(node.elts):
                rest = [*node.elts[:index], *node.elts[index + 1 :]]
                yield made(f"without the element {_text(element)}", _set(node, "elts", rest), element.lineno)
        if isinstance(node, ast.Dict):
            for index, key in enumerate(node.keys):
                yield made(f"without the key {_text(key) if key else '**'}", _drop(node, index), node.values[index].lineno)
        if isinstance(node, ast.comprehension) and node.ifs:
            for index, test in enumerate(node.ifs):
                rest = [*node.ifs[:index], *node.ifs[index + 1 :]]
                yield made(f"without: if {_text(test)}", _set(node, "ifs", rest), test.lineno)
        for field, value in ast.iter_fields(node):
            yield from self.expressions(node, field, value, made)


def _set(node: ast.AST, field: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, field, value)


def _drop(node: ast.Dict, index: int) -> Callable[[], None]:
    def apply() -> None:
        del node.keys[index], node.values[index]

    return apply


def _at(values: list[Any], index: int) -> Callable[[ast.expr], None]:
    return lambda new: values.__setitem__(index, new)


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 150 else f"{text[:147]}..."


def _header_end(node: ast.stmt) -> int:
    """The last line of a statement before the statements in it."""
    inner = [child.lineno for field in _BLOCKS for child in getattr(node, field, [])]
    return max(node.lineno, min(inner) - 1) if inner else node.end_lineno or node.lineno


def _is_words(node: ast.stmt) -> bool:
    """A docstring, or a line of the log."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Name):
        return value.func.value.id in _WORDS
    return isinstance(value, ast.Constant)


def _is_constant_words(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr)


def _is_attribute(node: ast.stmt, where: str) -> bool:
    """Of a plain class; a field without its default is a different signature, and no test would get as far as the guard."""
    return bool(where) and isinstance(node, ast.Assign)


def _is_condition(parent: ast.AST, node: ast.expr) -> bool:
    if isinstance(parent, (ast.If, ast.While, ast.IfExp)) and parent.test is node:
        return True
    if isinstance(parent, (ast.BoolOp, ast.comprehension, ast.Compare)):
        return False  # it goes as a whole
    if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not):
        return False
    return isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def _is_collection(parent: ast.AST, node: ast.Tuple | ast.List | ast.Set) -> bool:
    """Elements that are alike, as in a table; not the parts of one value, as in a row of it."""
    if not isinstance(node.ctx if not isinstance(node, ast.Set) else ast.Load(), ast.Load):
        return False
    if isinstance(node, ast.Tuple):
        rows = (ast.Return, ast.Subscript, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Yield, ast.comprehension)
        row = isinstance(parent, rows)
        unpacked = isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Tuple)
        return not row and not unpacked and not isinstance(parent, (ast.ListComp, ast.GeneratorExp, ast.BinOp))
    return True
