"""The arguments of this program: its own, or those in a variable if a container's entry point dropped them.

GitLab Runner 19 starts `steps serve` as the command of a container. An image whose ENTRYPOINT is `["sh", "-c"]` starts
the program alone: its arguments become those of the shell.
"""

from __future__ import annotations

from step_runner.cli.names import COMMANDS
from step_runner.errors import InputError

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

VARIABLE = "_GITLAB_RUNNER_HELPER_NATIVE_STEPS_ARGV"
"""base64 of a JSON list of arguments, for a program that was started without any."""


def effective(arguments: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """Return the arguments, or those of VARIABLE if there are none. Remove VARIABLE from the environment.

    Drop the first word of VARIABLE's list if it is neither an option nor a command: it is the name of the
    program. Raise InputError for a value that is not such a list.
    """
    value = environment.pop(VARIABLE, "")  # steps must not see it: a step runner that they start would use it
    if arguments or not value:
        return list(arguments)
    listed = _decoded(value)
    names_program = listed[:1] and not listed[0].startswith("-") and listed[0] not in {*COMMANDS, "steps"}
    return listed[1:] if names_program else listed


def _decoded(value: str) -> list[str]:
    import base64
    import json

    try:
        listed = json.loads(base64.b64decode(value, validate=True))
        if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
            raise ValueError("it is not a list of strings")
    except ValueError as error:
        raise InputError(
            f"{VARIABLE} is not base64 of a JSON list of arguments: {error}: give arguments, or correct it"
        ) from error
    return listed
