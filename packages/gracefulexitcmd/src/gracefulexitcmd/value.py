"""Immutable records."""

from __future__ import annotations

from gracefulexitcmd.typed import dataclass_transform

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, NoReturn, Self


@dataclass_transform(frozen_default=True)
class Value:
    """A replacement for frozen dataclasses: the import of `dataclasses` costs as much as this whole package.

    `vars` returns its fields.
    """

    _fields: dict[str, None] = {}
    _defaults: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._fields = dict.fromkeys(cls.__annotations__)
        cls._defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}

    def __init__(self, *values: Any, **named: Any) -> None:
        given = dict(zip(self._fields, values, strict=False), **named) if values else named
        fields = self.__dict__
        fields.update(self._defaults, **given)
        if fields.keys() != self._fields.keys() or len(given) != len(values) + len(named):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}, each once")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the values; called when all are set."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values for some fields."""
        return type(self)(**{**self.__dict__, **changes})

    __replace__ = replace  # for copy.replace(), Python 3.13

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed: take what replace() returns")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed: take what replace() returns")

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        pairs = zip(self._fields, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)
