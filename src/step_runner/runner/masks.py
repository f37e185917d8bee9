"""The secrets of a job, which no message may show."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from step_runner.expression import Secret, is_secret, reveal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from step_runner.model import Value

T = TypeVar("T")

MASK = "***"

SHORTEST = 3
"""Fewest characters of a masked text. A shorter one occurs by chance, and masking would reveal it."""


class Masks:
    """Hides the added secrets in messages."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._texts: list[str] = []
        self._add(secrets)

    def add(self, values: Iterable[Value | Secret]) -> None:
        """Hide the texts and numbers of the secret values."""
        self._add(text for value in values for text in _texts(value))

    def hidden(self, text: str) -> str:
        """Return a text with every secret replaced by `***`."""
        for secret in self._texts:
            text = text.replace(secret, MASK)
        return text

    def found_in(self, text: str) -> bool:
        """Return whether a text contains a secret."""
        return any(secret in text for secret in self._texts)

    def _add(self, secrets: Iterable[str]) -> None:
        """Add a secret. One of several lines may be shown line by line."""
        found = {part for secret in secrets for part in (secret, *secret.splitlines()) if len(part) >= SHORTEST}
        if found:
            # Replace a secret that contains another one first: otherwise a part of it would stay visible.
            self._texts = sorted(found.union(self._texts), key=len, reverse=True)


def masked(value: T | Secret) -> T | str:
    """Return the value for a report: `***` for a secret, and for a value that contains one."""
    return MASK if is_secret(value) else value  # type: ignore[return-value]


def _texts(value: Value | Secret, *, secret: bool = False) -> Iterator[str]:
    """Yield the texts and numbers in the secrets of a value, or all of them if the value is secret."""
    match value:
        case Secret():
            yield from _texts(reveal(value), secret=True)
        case list() | dict():
            for item in value if isinstance(value, list) else value.values():
                yield from _texts(item, secret=secret)
        case str() | int() | float() if secret and not isinstance(value, bool):
            yield f"{value:g}" if isinstance(value, float) else str(value)
