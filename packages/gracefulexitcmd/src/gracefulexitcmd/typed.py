"""The parts of `typing` and `enum` that this package needs while it runs.

The import of `typing` takes two milliseconds, and an enumeration a tenth of one.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from enum import Enum
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

    class _Members(type):
        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            made = super().__new__(cls, name, bases, body)
            made._members = {key: made(key, value) for key, value in body.items() if bases and key[0] != "_"}
            for key, member in made._members.items():
                setattr(made, key, member)
            return made

        def __iter__(cls):
            return iter(cls._members.values())

    class Enum(metaclass=_Members):
        """An enumeration for this package alone; that of `enum` takes several times as long to define."""

        def __init__(self, name, value):
            self.name, self.value = name, value

        def __repr__(self):
            return f"{type(self).__name__}.{self.name}"

    def assert_never(value):
        raise AssertionError(f"{value!r} is not expected here")

    def dataclass_transform(**_options):
        return lambda decorated: decorated

    def overload(function):
        return function


__all__ = ["Enum", "Generic", "NamedTuple", "Protocol", "assert_never", "dataclass_transform", "overload"]
