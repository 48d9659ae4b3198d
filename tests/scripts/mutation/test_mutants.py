"""Changes: each operator at its place, what is left alone, and that all of them are legal."""

import ast
from pathlib import Path

import pytest

from scripts.mutation.mirror import PACKAGES
from scripts.mutation.mutants import mutants

ROOT = Path(__file__).resolve().parents[3]


def changed(source: str) -> list[str]:
    return [each.applied(source.encode()).decode() for each in mutants(source.encode())]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["((a) <= (b))", "((a) >= (b))"]),
        ("a == b", ["((a) != (b))"]),
        ("a is not b", ["((a) is (b))"]),
        ("a not in b", ["((a) in (b))"]),
        (
            "a <= b < c",
            [
                "((a) < (b) < (c))",
                "((a) > (b) < (c))",
                "((a) <= (b) <= (c))",
                "((a) <= (b) >= (c))",
            ],
        ),
        ("a + b", ["((a) - (b))"]),
        ("a += b", ["a -= b", "pass"]),
        ("a and b or c", ["((a and b) and (c))", "((a) or (b)) or c"]),
        ("not a", ["bool(a)"]),
        ("a if b else c", ["a if (not (b)) else c"]),
        ("a = 7", ["a = (7 + 1)", "a = (7 - 1)"]),
        ("a = 0.5", ["a = (0.5 + 1)", "a = (0.5 - 1)"]),
        ("a = True", ["a = False"]),
        ("f()", ["pass"]),
        ("a.b = c", ["pass"]),
        ("a[b] = c", ["pass"]),
        ("del a", ["pass"]),
        ("raise a", ["pass"]),
    ],
)
def test_each_operator(source: str, expected: list[str]) -> None:
    assert changed(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("if a:\n    b", ["if (not (a)):\n    b"]),
        ("while a:\n    break", ["while (not (a)):\n    break", "while a:\n    continue"]),
        ("while a:\n    continue", ["while (not (a)):\n    continue", "while a:\n    break"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("def f():\n    return False", ["def f():\n    return True"]),
        ("def f():\n    return ''", ["def f():\n    return None"]),
        ("async def f():\n    await a", ["async def f():\n    pass"]),
    ],
)
def test_statements_with_a_block(source: str, expected: list[str]) -> None:
    assert changed(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "'''A docstring.'''",
        "import a",
        "from a import b",
        "a: Literal[1]",
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "@cache(1)\nclass A(B[1], frozen=True): ...",
        "class A(Protocol):\n    def f(self, a: int = 1) -> int: ...",
        "class A(Protocol[T]):\n    def f(self, a: int = 1) -> int: ...",
        "__all__ = [1]",
        "__slots__ = (1,)",
        "if TYPE_CHECKING:\n    a = 1",
        "if __name__ == '__main__':\n    sys.exit(1)",
        "T = TypeVar('T', bound=1)",
        "f'{a + 1}'",
        "b'%d' % a",
        "'a' + b",
        "match a:\n    case 1: ...",
        "def f():\n    return",
        "def f():\n    return None",
        "a = None",
        "a = 'text'",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    assert changed(source) == []


def test_a_line_is_told_and_octets_are_counted() -> None:
    source = "a = 'é€'; b = 1  # é\nc = 2\n"
    found = mutants(source.encode())
    assert [each.line for each in found] == [1, 1, 2, 2]
    assert found[0].applied(source.encode()).decode() == source.replace("1", "(1 + 1)")
    assert found[3].applied(source.encode()).decode() == source.replace("2", "(2 - 1)")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_change_of_the_product_is_legal(package: str) -> None:
    """Of each module the last change of each kind: all of them would take a minute."""
    for path in sorted((ROOT / package).rglob("*.py")):
        source = path.read_bytes()
        tree = ast.dump(ast.parse(source))
        for each in {each.kind: each for each in mutants(source)}.values():
            assert ast.dump(ast.parse(each.applied(source))) != tree, (path, each)
