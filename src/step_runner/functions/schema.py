"""What may be written in a step file; the decoder and the JSON Schema for editors both follow these types.

`extra` of a type tells the decoder more: `each` names the items of a list or mapping, `advice` says what to write
instead, `text` takes numbers and booleans as written, `null` is what null means, `name` marks names that a bare
run list need not keep to, `parse` checks a string further, `never` is why some words are not allowed, `refused` why a
key is not supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gracefulexitcmd.duration import seconds
from step_runner.errors import InputError
from step_runner.functions.reference import git_reference, oci_reference, parse_reference
from step_runner.model import Reference, ValueType, type_of
from step_runner.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SCALARS = ["string", "number", "boolean"]
NAME_ADVICE = "use letters, digits and _, and no digit first"


def _about(description: str, **extra: Any) -> Meta:
    return Meta(description=description, extra=extra)


Name: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", extra={"advice": NAME_ADVICE, "name": True})]
NameOrTemplate: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*|[\s\S]*\$\{\{[\s\S]*)$",
        extra={"advice": NAME_ADVICE, "name": True},
    ),
]
Text: TypeAlias = Annotated[str, Meta(extra={"text": True}, extra_json_schema={"type": SCALARS})]
FilledText: TypeAlias = Annotated[str, Meta(min_length=1, extra={"text": True}, extra_json_schema={"type": SCALARS})]
EnvText: TypeAlias = Annotated[
    str, Meta(extra={"text": True, "null": ""}, extra_json_schema={"type": [*SCALARS, "null"]})
]
ReferenceText: TypeAlias = Annotated[str, Meta(min_length=1, extra={"parse": parse_reference})]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping of a step file; of the keys `exactly_one` one must be given, the pairs `apart` not together."""

    exactly_one: ClassVar[tuple[str, ...]] = ()
    without: ClassVar[str] = ""
    """What a mapping has that has none of `exactly_one`, for a message."""
    foreign: ClassVar[Mapping[str, str]] = {}
    """Keys of other systems that mean one of `exactly_one`, with what to write instead."""
    apart: ClassVar[tuple[tuple[str, str], ...]] = ()
    rules: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """JSON Schema for those of the complaints that it can express."""

    def complaints(self) -> Iterable[tuple[str, str]]:
        """What is wrong although each key alone is right: the key and a sentence."""
        return ()


JSON_TYPES = {
    ValueType.STRING: "string",
    ValueType.NUMBER: "number",
    ValueType.BOOLEAN: "boolean",
    ValueType.ARRAY: "array",
    ValueType.STRUCT: "object",
}


class ParameterMapping(Written, frozen=True, kw_only=True):
    """A declared input or output: its type, and a default if it may be left out."""

    rules = tuple(
        {
            "if": {"properties": {"type": {"const": declared.value}}, "required": ["type"]},
            "then": {"properties": {"default": {"type": [name, "null"]}}},
        }
        for declared, name in JSON_TYPES.items()
    )

    type: Annotated[
        ValueType,
        _about(
            "The type of the value.",
            advice='write "string", "number", "boolean", "array" or "struct"',
        ),
    ]
    default: Annotated[
        Any, _about("The value when none is given, of the declared type. Expressions are not evaluated.")
    ] = None
    sensitive: Annotated[bool | None, _about("Whether the value may be secret.")] = None
    description: Annotated[str | None, _about("What the value is for, to be read by people.")] = None

    def complaints(self) -> Iterable[tuple[str, str]]:
        """A default of another type than the declared one."""
        kind = type_of(self.default)
        if kind is not None and kind is not self.type:
            quotes = self.type is ValueType.STRING and kind in (ValueType.NUMBER, ValueType.BOOLEAN)
            advice = "; put it in quotes" if quotes else f"; write a default of the type {self.type}, or none"
            yield "default", f"the default is of the type {kind}, not {self.type}{advice}"


class SpecMapping(Written, frozen=True, kw_only=True):
    """What a function takes and gives."""

    inputs: Annotated[
        dict[Name, ParameterMapping] | None,
        _about("The inputs by name. One without a default is required.", each="input"),
    ] = None
    outputs: Annotated[
        dict[Name, ParameterMapping] | Literal["delegate"] | None,
        _about(
            "The outputs by name, or `delegate` to hand on the outputs of another step.",
            each="output",
            advice='write a mapping of names, or "delegate"',
        ),
    ] = None


class Specification(Written, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first document of a step file."""

    spec: Annotated[SpecMapping | None, _about("What the function takes and gives.")] = None


class GitReference(Written, frozen=True, kw_only=True):
    """A function in a git repository."""

    url: Annotated[FilledText, _about("The repository. `https://` is put in front if there is no scheme.")]
    rev: Annotated[FilledText, _about("A tag, a branch or a commit.")]
    dir: Annotated[Text | None, _about("The function's directory, from the root of the repository.")] = None
    file: Annotated[Text | None, _about("The name of the step file, if not func.yml or step.yml.")] = None

    def complaints(self) -> Iterable[tuple[str, str]]:
        """A part that no repository can have."""
        return _complaint_about(self.reference)

    def reference(self) -> Reference:
        """The reference that the keys mean. Raises InputError."""
        return git_reference(self.url, self.rev, self.dir or "", self.file)


class OciReference(Written, frozen=True, kw_only=True):
    """A function in an OCI registry."""

    registry: Annotated[FilledText, _about("The registry, such as registry.gitlab.com.")]
    repository: Annotated[FilledText, _about("The repository in the registry.")]
    tag: Annotated[Text, _about("A tag, or a digest `sha256:...`. Empty means `latest`.")]
    dir: Annotated[Text | None, _about("The function's directory in the image.")] = None
    file: Annotated[Text | None, _about("The name of the step file, if not func.yml or step.yml.")] = None

    def complaints(self) -> Iterable[tuple[str, str]]:
        """A part that no registry can have."""
        return _complaint_about(self.reference)

    def reference(self) -> Reference:
        """The reference that the keys mean. Raises InputError."""
        return oci_reference(self.registry, self.repository, self.tag, self.dir or "", self.file)


class LongReference(Written, frozen=True, kw_only=True):
    """Where a function is found, key by key."""

    exactly_one = ("git", "oci")
    without = 'neither "git" nor "oci"'

    git: Annotated[GitReference | UnsetType, _about("A function in a git repository.")] = UNSET
    oci: Annotated[OciReference | UnsetType, _about("A function in an OCI registry.")] = UNSET

    def reference(self) -> Reference:
        """The reference that the keys mean. Raises InputError."""
        written = self.oci if isinstance(self.git, UnsetType) else self.git
        assert not isinstance(written, UnsetType)
        return written.reference()


Called: TypeAlias = Annotated[
    ReferenceText | LongReference | UnsetType,
    _about(
        "The function to run: `./directory`, `URL@REVISION`, `builtin://NAME`, `REGISTRY/REPOSITORY:TAG`, "
        "or a mapping with `git` or `oci`.",
        advice='write "./directory", "URL@REVISION", "builtin://NAME" or a mapping with git or oci',
    ),
]


class RunItem(Written, frozen=True, kw_only=True):
    """One step: its name, and the function or the script that it runs."""

    exactly_one = ("func", "step", "script", "action")
    without = 'neither "func" nor "script"'
    foreign = {
        "run": 'write "script"',
        "command": 'write "script"',
        "commands": 'write "script: |" and the commands on the lines below it',
        "uses": 'write "func" with a reference such as "URL@REVISION"; GitHub actions are not supported',
    }
    apart = (("script", "inputs"),)

    name: Annotated[
        Name,
        _about("The step's name, by which later steps read its outputs.", missing='add one, such as "name: build"'),
    ]
    func: Called = UNSET
    step: Called = UNSET
    script: Annotated[
        FilledText | UnsetType,
        _about(
            "Shell commands, run by bash, or by sh where there is no bash.",
            advice='write "script: |" and the commands on the lines below it',
        ),
    ] = UNSET
    action: Annotated[
        Any | UnsetType,
        Meta(
            description="GitHub actions are not supported.",
            extra={"refused": "GitHub actions are not supported; run a function with func, or a script"},
            extra_json_schema={"not": {}},
        ),
    ] = UNSET
    inputs: Annotated[
        dict[NameOrTemplate, Any] | None,
        _about("The function's inputs by name. Expressions are evaluated.", each="input"),
    ] = None
    env: Annotated[
        dict[NameOrTemplate, EnvText] | None,
        _about("Environment variables for this step. Expressions are evaluated.", each="environment variable"),
    ] = None


def _check_duration(text: str) -> None:
    try:
        seconds(text)
    except ValueError as error:
        raise InputError(str(error)) from None


ASKS_TO_STOP = "The signal that asks the command to stop."
StopSignal: TypeAlias = Annotated[
    Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"],
    _about(
        ASKS_TO_STOP,
        advice='write "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1" or "SIGUSR2"',
        never={
            "SIGKILL": "it always follows when the time is over, so leave it out",
            "SIGSTOP": "a stopped process cannot end",
        },
    ),
]
DurationText: TypeAlias = Annotated[Text, Meta(extra={"parse": _check_duration})]


def _only_in(form: str) -> Meta:
    """A key of the other form of `stop`."""
    return Meta(
        description=f"Only in {form}.", extra={"refused": f"this key is only for {form}"}, extra_json_schema={"not": {}}
    )


ONLY_IN_LIST = _only_in("the long form, stop: [{signal: SIGINT, wait: 10s, to: leader}]")
ONLY_IN_MAPPING = _only_in("the short form, stop: {signal: SIGINT, grace: 10s, first: leader}")


class StopMapping(Written, frozen=True, kw_only=True):
    """How the command is stopped when the job is cancelled or its time is over, with one signal."""

    signal: Annotated[StopSignal | None, _about(ASKS_TO_STOP)] = None
    grace: Annotated[
        DurationText | None,
        _about("The time until SIGKILL, such as 10s or 1m30s; at most the job's graceful exit delay."),
    ] = None
    first: Annotated[
        Literal["leader"] | None,
        _about(
            "`leader`: the process of the command alone gets the signal; what it has started gets it when that "
            "process has ended, or after half of the time.",
            advice='write "leader", or leave it out',
        ),
    ] = None
    wait: Annotated[Any | UnsetType, ONLY_IN_LIST] = UNSET
    to: Annotated[Any | UnsetType, ONLY_IN_LIST] = UNSET


class StopStageMapping(Written, frozen=True, kw_only=True):
    """One signal of several that stop the command one after another."""

    signal: Annotated[StopSignal, Meta(extra={"missing": 'add one, such as "signal: SIGTERM"'})]
    wait: Annotated[
        DurationText,
        _about(
            "The time until the next signal, such as 10s or 1m30s. All of them shrink in proportion where they are "
            "longer together than the job's graceful exit delay.",
            missing='add one, such as "wait: 10s"',
        ),
    ]
    to: Annotated[
        Literal["leader", "group", "all"] | None,
        _about(
            "What gets it: the process of the command, its process group, or, by default, all that it has started.",
            advice='write "leader", "group" or "all"',
        ),
    ] = None
    grace: Annotated[Any | UnsetType, ONLY_IN_MAPPING] = UNSET
    first: Annotated[Any | UnsetType, ONLY_IN_MAPPING] = UNSET


StopList: TypeAlias = Annotated[
    list[Annotated[StopStageMapping, Meta(extra={"advice": 'write "{signal: SIGTERM, wait: 10s}"'})]],
    Meta(
        min_length=1,
        description="The signals that stop the command one after another; SIGKILL follows by itself.",
    ),
]


class ExecMapping(Written, frozen=True, kw_only=True):
    """A command, started without a shell."""

    command: Annotated[
        list[Text],
        Meta(
            min_length=1,
            description="The program and its arguments, one item each. Expressions are evaluated.",
            extra={"each": "command item", "advice": 'write a list, such as ["echo", "hello"]'},
        ),
    ]
    work_dir: Annotated[
        Text | None,
        _about("The directory that the command is started in. Without it, the work directory of the job."),
    ] = None
    stop: Annotated[
        StopList | StopMapping | None,
        _about(
            "How the command is stopped. Without it, by SIGTERM, and SIGKILL after the graceful exit delay.",
            each="stop stage",
            advice='write "{signal: SIGINT, grace: 10s}" or a list of "{signal: SIGINT, wait: 10s}"',
        ),
    ] = None


RunList: TypeAlias = Annotated[
    list[Annotated[RunItem, Meta(extra={"advice": 'write "name: NAME" and a script or a func'})]],
    Meta(
        min_length=1,
        description="The steps, run one after another.",
        extra={"each": "step", "advice": 'write a list whose items begin with "- name: NAME"'},
    ),
]


class Definition(Written, frozen=True, kw_only=True):
    """The second document of a step file: a command or a list of steps."""

    exactly_one = ("exec", "run")
    without = 'neither "exec" nor "run"'
    foreign = {
        "steps": 'write "run"',
        "script": 'write "run:" and below it "- name: NAME" with the script',
        "jobs": 'write "run" with the steps of one job',
    }

    env: Annotated[
        dict[Name, EnvText] | None,
        _about(
            "Environment variables for the command or for all steps. Expressions are evaluated.",
            each="environment variable",
        ),
    ] = None
    exec: Annotated[ExecMapping | UnsetType, _about("A command, started without a shell.")] = UNSET
    run: Annotated[RunList | UnsetType, _about("The steps, run one after another.")] = UNSET
    outputs: Annotated[
        dict[Name, Any] | None,
        _about("The outputs of a run list by name. Expressions are evaluated.", each="output"),
    ] = None
    delegate: Annotated[
        str | None, _about("The step whose outputs are handed on, if the specification says `outputs: delegate`.")
    ] = None

    def complaints(self) -> Iterable[tuple[str, str]]:
        """A `delegate` that names no step of the run list."""
        if self.delegate is None or isinstance(self.run, UnsetType):
            return
        names = [item.name for item in self.run]
        if self.delegate not in names:
            yield "delegate", f'there is no step "{self.delegate[:60]}"{meant(self.delegate, names)}'


def _complaint_about(make: Callable[[], object]) -> Iterable[tuple[str, str]]:
    try:
        make()
    except InputError as error:
        yield "", str(error)
