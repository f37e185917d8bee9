"""Durations in the notation of people."""

from __future__ import annotations

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+)"
_PART = rf"({_NUMBER})(ms|s|m|h)"

__all__ = ["seconds"]


def seconds(text: str) -> float:
    """Return the seconds of a text such as `30`, `1.5`, `500ms`, `30s` or `1m30s`.

    Raise ValueError for any other text, with a message for people.
    """
    import re  # most programs give numbers

    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    parts = re.findall(_PART, text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'"{text}" is not a duration: write for example 30s, 1m30s, 500ms or a number of seconds')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def check_seconds(name: str, seconds: float | None) -> None:
    """Raise ValueError unless the value is None or a valid time to wait, and TypeError if it is not a number."""
    try:
        valid = seconds is None or 0 <= seconds < float("inf")
    except TypeError:
        raise TypeError(f"{name} is {seconds!r}: it must be a number of seconds, 0 or more") from None
    if not valid:
        raise ValueError(f"{name} is {seconds}: it must be a number of seconds, 0 or more")
