"""The parts of `typing` that this package needs while it runs: the import of `typing` takes two milliseconds."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, Generic, NamedTuple, Protocol, assert_never, dataclass_transform, overload
else:
    from collections import namedtuple
    from types import GenericAlias

    class Generic:
        """A class that can be subscripted."""

        __class_getitem__ = classmethod(GenericAlias)

    Protocol = object

    class _Class(type):
        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            defaults = [body.pop(field) for field in fields if field in body]
            plain = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            return type(name, (plain,), {**body, "__slots__": ()})

    class NamedTuple(metaclass=_Class):
        """A tuple with names for its fields; that of `typing` compiles the annotations, too."""

    def assert_never(value):
        raise AssertionError(f"{value!r} is not expected here")

    def dataclass_transform(**_options):
        return lambda decorated: decorated

    def overload(function):
        return function


__all__ = ["Generic", "NamedTuple", "Protocol", "assert_never", "dataclass_transform", "overload"]
