"""The changes: what can be altered in a module's source, each at one place.

A change replaces the text of one node of the syntax tree, so that all else stays as it was
written. Left alone are docstrings, annotations, `__all__`, and what only runs as a program.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARED: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
_WORDS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_COUNTED: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "|",
}
_PASSED_OVER = (ast.Import, ast.ImportFrom, ast.JoinedStr, ast.pattern)
_DECLARING = ("annotation", "returns", "decorator_list", "type_params")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: octets from `start` to `end` of a source become `text`."""

    start: int
    end: int
    text: str
    line: int
    kind: str

    def applied(self, source: bytes) -> bytes:
        """Return the source with this change."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants(source: bytes) -> list[Mutant]:
    """Return every change of a module's source that this knows."""
    return list(_Finder(source).found(ast.parse(source)))


class _Finder:
    """Knows where each node stands in the source."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def found(self, node: ast.AST) -> Iterator[Mutant]:
        """Yield the changes of a node and of all below it."""
        if isinstance(node, _PASSED_OVER) or _is_declaration(node):
            return
        for kind, target, text in _changes(node, self._text):
            start, end = self._span(target)
            yield Mutant(start, end, text, target.lineno, kind)
        for child in _children(node):
            yield from self.found(child)

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        if node.end_lineno is None or node.end_col_offset is None:
            raise ValueError("a node that stands nowhere")
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.ClassDef):
        yield from node.body
        return
    for name, value in ast.iter_fields(node):
        if name in _DECLARING:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child


def _is_declaration(node: ast.AST) -> bool:
    """Whether nothing of a statement decides what the product does."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "NewType"))):
            return True
        case ast.ClassDef(
            bases=[ast.Name(id="Protocol") | ast.Subscript(value=ast.Name(id="Protocol"))]
        ):
            return True  # who has its methods has them with defaults of its own
    return False


Change = tuple[str, ast.expr | ast.stmt, str]
TextOf = Callable[[ast.expr], str]


def _changes(node: ast.AST, text: TextOf) -> Iterator[Change]:
    for kind in (_operations, _truths, _numbers, _statements):
        yield from kind(node, text)


def _operations(node: ast.AST, text: TextOf) -> Iterator[Change]:
    """Compare otherwise, and calculate otherwise."""
    match node:
        case ast.Compare():
            sides = [f"({text(each)})" for each in (node.left, *node.comparators)]
            for place, operator in enumerate(node.ops):
                for other in _COMPARED[type(operator)]:
                    words = [_WORDS[type(each)] for each in node.ops]
                    words[place] = other
                    yield "comparison", node, f"({_joined(sides, words)})"
        case ast.BinOp() if type(node.op) in _COUNTED and not _is_text(node):
            left, right = text(node.left), text(node.right)
            yield "arithmetic", node, f"(({left}) {_COUNTED[type(node.op)]} ({right}))"
        case ast.AugAssign() if type(node.op) in _COUNTED:
            target, value = text(node.target), text(node.value)
            yield "arithmetic", node, f"{target} {_COUNTED[type(node.op)]}= {value}"
            yield "dropped assignment", node, "pass"


def _truths(node: ast.AST, text: TextOf) -> Iterator[Change]:
    """Take the other branch."""
    match node:
        case ast.BoolOp():
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield "condition", node, f"({word.join(f'({text(each)})' for each in node.values)})"
        case ast.UnaryOp(op=ast.Not()):
            yield "condition", node, f"bool({text(node.operand)})"
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield "condition", test, f"(not ({text(test)}))"


def _numbers(node: ast.AST, _: TextOf) -> Iterator[Change]:
    """Be off by one."""
    match node:
        case ast.Constant(value=bool()):
            yield "constant", node, str(not node.value)
        case ast.Constant(value=int() | float()):
            yield "constant", node, f"({node.value!r} + 1)"
            yield "constant", node, f"({node.value!r} - 1)"


def _statements(node: ast.AST, _: TextOf) -> Iterator[Change]:
    """Leave something out."""
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "dropped call", node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "dropped assignment", node, "pass"
        case ast.Raise() | ast.Delete():
            yield "dropped statement", node, "pass"
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield "returned None", node, "return None"
        case ast.Break():
            yield "loop", node, "continue"
        case ast.Continue():
            yield "loop", node, "break"


def _joined(sides: list[str], words: list[str]) -> str:
    return " ".join(
        [sides[0], *(f"{word} {side}" for word, side in zip(words, sides[1:], strict=True))]
    )


def _is_text(node: ast.BinOp) -> bool:
    """Whether an operator joins or formats text, which another cannot."""
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


def _is_nothing(node: ast.expr) -> bool:
    """Whether it is None, or False, instead of which the types refuse it and nobody can tell it."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
