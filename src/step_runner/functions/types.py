"""Infers the type of an expression's value before evaluation, and finds names and operations that must fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

from step_runner.expression.evaluation import FUNCTIONS
from step_runner.expression.nodes import (
    CHAINED,
    Array,
    Attribute,
    Binary,
    Call,
    Chained,
    Index,
    Interpolation,
    Literal,
    Logical,
    Name,
    Node,
    Object,
    Operand,
    Unary,
)
from step_runner.functions.expressions import part_of, path_of
from step_runner.model import ValueType, type_of
from step_runner.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.functions.expressions import Path
    from step_runner.functions.scope import Scope

ARITHMETIC = ("-", "*", "/", "%")
LONGEST_PATH = len(("steps", "NAME", "outputs", "NAME"))
RESULTS = {"str": ValueType.STRING, "num": ValueType.NUMBER, "bool": ValueType.BOOLEAN}


class Kind(NamedTuple):
    """A type, None for null. An input with a `declared` type may get a value of another type."""

    type: ValueType | None
    declared: bool = False

    def __str__(self) -> str:
        if self.type is ValueType.STRUCT:
            return "an object"
        return "null" if self.type is None else self.type.article


class Finding(NamedTuple):
    """An offset in a template, and what is wrong there."""

    offset: int
    message: str
    warning: bool = False


NUMBER, STRING, BOOLEAN = Kind(ValueType.NUMBER), Kind(ValueType.STRING), Kind(ValueType.BOOLEAN)
ARRAY, STRUCT = Kind(ValueType.ARRAY), Kind(ValueType.STRUCT)


def findings(node: Node, scope: Scope) -> list[Finding]:
    """Return the names and operations that must fail when the expression is evaluated; one finding for each mistake."""
    inference = _Inference(scope)
    inference.kind(node)
    return inference.findings


class _Inference:
    """Walks a tree. An unknown kind is None and causes no finding."""

    def __init__(self, scope: Scope) -> None:
        self.findings: list[Finding] = []
        self._scope = scope

    def kind(self, node: Node) -> Kind | None:
        """Return the kind of a tree. Walk a chain of operators in a loop, as `evaluate` does: it may be long."""
        chain: list[Chained] = []
        while isinstance(node, CHAINED):
            chain.append(node)
            node = node.left
        path: Path = ((node.name, node.start),) if isinstance(node, Name) else ()
        kind = self._scope.kind(path) if path else self._operand(node)
        for link in reversed(chain):
            known, path = path, _continued(path, link)
            if known and not path:
                self._check_path(known)
            kind = self._continue(link, kind, path)
        if path:
            self._check_path(path)
        return kind

    def _check_path(self, path: Path) -> None:
        if (finding := self._scope.finding(path)) is not None:
            self.findings.append(finding)

    def _operand(self, node: Operand) -> Kind | None:
        match node:
            case Literal():
                return Kind(type_of(node.value))
            case Interpolation():
                self._all(piece for piece in node.pieces if not isinstance(piece, str))
                return STRING
            case Array():
                self._all(node.items)
                return ARRAY
            case Object():
                return self._object(node)
            case Call():
                return self._call(node)
            case Unary():
                return self._unary(node)
            case Name():
                return None
        assert_never(node)

    def _continue(self, node: Chained, left: Kind | None, path: Path) -> Kind | None:
        match node:
            case Binary():
                return self._binary(node, left)
            case Logical():
                return self._logical(node, left)
            case Attribute() | Index():
                self._check_member(node, left)
                return self._scope.kind(path) if path else None
        assert_never(node)

    def _all(self, nodes: Iterator[Node] | tuple[Node, ...]) -> None:
        for node in nodes:
            self.kind(node)

    def _find(self, offset: int, message: str, *kinds: Kind) -> None:
        warning = any(kind.declared for kind in kinds)
        self.findings.append(Finding(offset, message, warning))

    def _object(self, node: Object) -> Kind:
        for key, value in node.pairs:
            kind = self.kind(key)
            if kind is not None and kind.type is not ValueType.STRING:
                self._find(key.start, f"the key of an object must be a string, not {kind}", kind)
            self.kind(value)
        return STRUCT

    def _call(self, node: Call) -> Kind | None:
        kinds = [self.kind(argument) for argument in node.arguments]
        if node.function not in FUNCTIONS:
            self._find(node.start, f'function "{node.function}" does not exist{meant(node.function, FUNCTIONS)}')
            return None
        if len(kinds) != 1:
            self._find(node.start, f"{node.function}() needs one argument, not {len(kinds)}")
        elif node.function == "num" and (kind := kinds[0]) and kind.type not in (ValueType.STRING, ValueType.NUMBER):
            self._find(node.start, f"num() needs a string or a number, not {kind}", kind)
        return Kind(RESULTS[node.function])

    def _unary(self, node: Unary) -> Kind:
        kind = self.kind(node.operand)
        if node.operator == "!":
            return BOOLEAN
        if kind is not None and kind.type is not ValueType.NUMBER:
            self._find(node.start, f'"{node.operator}" needs a number, not {kind}', kind)
        return NUMBER

    def _binary(self, node: Binary, left: Kind | None) -> Kind | None:
        right = self.kind(node.right)
        if node.operator == "+":
            return self._sum(node, left, right)
        if node.operator not in ARITHMETIC:
            return BOOLEAN
        for kind in (left, right):
            if kind is not None and kind.type is not ValueType.NUMBER:
                self._find(node.operator_start, f'"{node.operator}" needs two numbers, not {kind}', kind)
                break
        return NUMBER

    def _sum(self, node: Binary, left: Kind | None, right: Kind | None) -> Kind | None:
        known = [kind for kind in (left, right) if kind is not None]
        types = {kind.type for kind in known}
        if types <= {ValueType.NUMBER} or types <= {ValueType.STRING}:
            return known[0] if known else None
        advice = "; use str() or num()" if types == {ValueType.NUMBER, ValueType.STRING} else ""
        given = " and ".join(map(str, known))
        self._find(node.operator_start, f'"+" needs two numbers or two strings, not {given}{advice}', *known)
        return None

    def _logical(self, node: Logical, left: Kind | None) -> Kind | None:
        right = self.kind(node.right)
        if left is None or right is None or left.type is not right.type:
            return None
        return right if right.declared else left

    def _check_member(self, node: Attribute | Index, container: Kind | None) -> None:
        if isinstance(node, Index):
            self._check_index(node, container, self.kind(node.key))
        elif container is not None and container.type is not ValueType.STRUCT:
            advice = "; use an index as in [0]" if container.type is ValueType.ARRAY else ""
            self._find(node.end - len(node.name), f"{container} has no attributes{advice}", container)

    def _check_index(self, node: Index, container: Kind | None, key: Kind | None) -> None:
        if container is None:
            return
        if container.type not in (ValueType.ARRAY, ValueType.STRUCT):
            self._find(node.start, f"{container} cannot be indexed", container)
        elif key is not None and container.type is ValueType.ARRAY and key.type is not ValueType.NUMBER:
            self._find(node.key.start, f"an array is indexed with a number, not {key}", container, key)
        elif key is not None and container.type is ValueType.STRUCT and key.type is not ValueType.STRING:
            self._find(node.key.start, f"object requires string key, not {key}", container, key)


def _continued(path: Path, node: Chained) -> Path:
    """Return the path extended by a node; empty if that is not a path or longer than any known path."""
    part = part_of(node) if path and len(path) <= LONGEST_PATH else None
    return (*path, part) if part else ()


def sources(node: Node) -> Iterator[Path]:
    """Yield the paths whose text becomes part of an expression's value; skip those that only decide on it."""
    waiting: list[Node | str] = [node]
    while waiting:
        match waiting.pop():
            case (Attribute() | Index()) as member:
                yield path_of(member)
            case Logical(operator="&&") as both:
                waiting.append(both.right)
            case (Binary(operator="+") | Logical()) as both:
                waiting += (both.left, both.right)
            case Call(function="str") as call:
                waiting += call.arguments
            case Interpolation() as text:
                waiting += text.pieces
            case Array() as array:
                waiting += array.items
            case Object() as made:
                waiting += (part for pair in made.pairs for part in pair)
            case _:
                pass
