"""The messages for common mistakes with `run`, `check` and `ci`, in full.

The directory of the file with the mistake also has two functions: `hello`, which requires a string `name` and has an
output `text`, and `notes`, a directory without a function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.here import step_runner

from step_runner import __version__
from step_runner.cli.source import Named, called

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """\
spec:
  inputs:
    name: {type: string}
    count: {type: number, default: 1}
  outputs:
    text: {type: string}
---
exec:
  command: [sh, -c, 'echo "{\\"name\\":\\"text\\",\\"value\\":\\"hi\\"}" > ${{ output_file }}']
"""

BEGINNING = "{}\n---\nrun:\n"

BANNER = f"step-runner {__version__}\n"

TRY = "Try 'step-runner run --help'\n"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "func.yml").write_text(HELLO)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    return tmp_path


# In a step file.

IN_FILES = [
    pytest.param(
        "  - name: a\n      script: echo\n",
        "main.yml:5:13: this line is indented deeper than the key before it: line it up with the lines before\n",
        id="indented too deep",
    ),
    pytest.param(
        "  - name: a\n\tscript: echo\n",
        "main.yml:5:1: a tab cannot be used for indentation; use spaces\n",
        id="tab",
    ),
    pytest.param(
        "  - name: a\n    scirpt: echo\n",
        'main.yml:4:5: step "a" has neither "func" nor "script"; add one of them\n'
        'main.yml:5:5: warning: unknown key "scirpt" in step "a" has no effect; did you mean "script"?\n',
        id="misspelt key",
    ),
    pytest.param(
        "  - name: a\n    func: ./hello\n",
        'main.yml:4:5: "./hello" requires an input "name", a string; add it under inputs\n',
        id="missing input",
    ),
    pytest.param(
        "  - name: a\n    func: ./hello\n    inputs: {name: x, cuont: 2}\n",
        'main.yml:6:23: "./hello" takes no input "cuont"; did you mean "count"?\n',
        id="misspelt input",
    ),
    pytest.param(
        "  - name: a\n    func: ./helo\n",
        'main.yml:5:11: helo: no such directory; did you mean "hello"?\n',
        id="misspelt directory",
    ),
    pytest.param(
        "  - name: a\n    func: ./notes\n",
        "main.yml:5:11: notes: it has neither func.yml nor step.yml, but has notes.yml; "
        "a function is a directory with func.yml or step.yml\n",
        id="directory without a function",
    ),
    pytest.param(
        "  - name: a\n    script: echo ${{ vars.X\n",
        'main.yml:5:18: "${{" is not closed, add "}}" after the expression\n',
        id="expression that is not closed",
    ),
    pytest.param(
        "  - name: a\n    script: echo ${{ steps.b.outputs.x }}\n  - name: b\n    script: echo\n",
        'main.yml:5:28: step "b" has not run yet; use its outputs in a later step\n',
        id="output of a later step",
    ),
    pytest.param(
        "  - name: a\n    func: ./hello\n    inputs: {name: x}\n"
        "  - name: b\n    script: echo ${{ steps.a.outputs.txet }}\n",
        'main.yml:8:38: step "a" has no output "txet"; did you mean "text"?\n',
        id="misspelt output",
    ),
    pytest.param(
        "  - name: a\n    script: echo\n    script: ls\n",
        'main.yml:6:5: "script" is given twice, here and in line 5; remove one of them\n',
        id="key twice",
    ),
    pytest.param(
        "  - name: my step\n    script: echo\n",
        'main.yml:4:11: "name" of step "my step" cannot be "my step"; use letters, digits and _, and no digit first\n',
        id="blank in a name",
    ),
    pytest.param(
        "  - name: a\n    action: actions/checkout@v4\n",
        "main.yml:5:13: GitHub actions are not supported; run a function with func, or a script\n",
        id="GitHub action",
    ),
    pytest.param(
        "  - name: a\n    func: https://gitlab.com/c/s\n",
        'main.yml:5:11: the reference has no revision; write "https://gitlab.com/c/s@REVISION"\n',
        id="reference without a revision",
    ),
]


@pytest.mark.parametrize(("steps", "lines"), IN_FILES)
def test_mistake_in_step_file_is_shown_alike_by_all_commands(directory: Path, steps: str, lines: str) -> None:
    """`check` prints it as data; `run` prints the same as an error and runs nothing."""
    (directory / "main.yml").write_text(BEGINNING + steps)
    warnings = lines.count(": warning: ")
    errors = lines.count("\n") - warnings
    count = f"{errors} error{'s' * (errors > 1)}" + ", 1 warning" * warnings
    assert step_runner("check", "main.yml") == (1, lines, f"{count}\n")
    assert step_runner("run", "main.yml") == (1, "", f"{lines}Error: nothing was run: {count}\n")


# On the command line of `run`.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            [],
            "Error: no step specified: name a step file, a directory or another reference,"
            f" or use --git-url or --oci-registry\n{TRY}",
            id="nothing to run",
        ),
        pytest.param(
            ["helo"],
            'Error: helo: no such directory; did you mean "hello"?\n',
            id="misspelt name",
        ),
        pytest.param(["./helo"], 'Error: helo: no such directory; did you mean "hello"?\n', id="misspelt directory"),
        pytest.param(
            ["mian.yml"],
            "Error: ./mian.yml: no such file; a function is a directory with func.yml or step.yml\n",
            id="missing file",
        ),
        pytest.param(
            ["hello"],
            'Error: "hello" requires an input "name", a string; add --inputs name=VALUE\n',
            id="missing input",
        ),
        pytest.param(
            ["hello", "--inputs", "nam=x"],
            'Error: "hello" takes no input "nam"; did you mean "name"?\n'
            '  "hello" requires an input "name", a string; add --inputs name=VALUE\n',
            id="misspelt input",
        ),
        pytest.param(
            ["hello", "--inputs", "name"],
            f'Error: "name" is not set in the environment: set it, or write name=VALUE\n{TRY}',
            id="input without a value",
        ),
        pytest.param(
            ["hello", "--inputs", "name=x", "--inputs", "count=[x"],
            'Error: input "count" is declared as number, but its value is not YAML: count:1:3: "[" of line 1'
            ' is not closed; add "]", or "," between two items\n',
            id="input that is not YAML",
        ),
        pytest.param(
            ["hello", "--inputs", "name=x", "--inputs", "count="],
            'Error: input "count" is null, but its declared type is number\n',
            id="empty number",
        ),
        pytest.param(
            ["hello", "--timeout", "soon"],
            "Error: Invalid value for '--timeout': \"soon\" is not a duration: "
            f"write for example 30s, 1m30s, 500ms or a number of seconds\n{TRY}",
            id="no duration",
        ),
        pytest.param(
            ["hello", "--timeout", "0s"],
            "Error: Invalid value for '--timeout': the job would end before it starts: "
            f"leave the option out for no limit\n{TRY}",
            id="no time",
        ),
        pytest.param(
            ["hello", "--step-results-format", "xml"],
            f"Error: Invalid value for '--step-results-format': 'xml' is not one of 'json', 'prototext'.\n{TRY}",
            id="unknown format",
        ),
        pytest.param(["hello", "world"], f"Error: Got unexpected extra argument (world)\n{TRY}", id="further argument"),
        pytest.param(
            ["--git-url", "https://h/r"],
            f"Error: --git-url needs --git-rev: a tag, a branch or a commit\n{TRY}",
            id="git without a revision",
        ),
        pytest.param(
            ["--oci-registry", "h"],
            f"Error: --oci-registry needs --oci-repository: the image's path in the registry\n{TRY}",
            id="registry without a repository",
        ),
        pytest.param(
            ["func: ./hello\ninputs: {name: x\n"],
            'Error: REFERENCE:2:17: "{" of line 2 is not closed; add "}", or "," between two items\n',
            id="item that is no YAML",
        ),
        pytest.param(
            ["func: ./hello\ninput: {name: x}\n"],
            'REFERENCE:2:1: warning: unknown key "input" in step 1 has no effect; did you mean "inputs"?\n'
            'Error: "hello" requires an input "name", a string; add --inputs name=VALUE\n',
            id="misspelt key of an item",
        ),
        pytest.param(
            ["--text-proto-step-file", "hello/func.yml"],
            "Error: hello/func.yml:2:3: not a SpecDefinition in protobuf's text form: '  inputs:': Expected \"{\"\n",
            id="text form that is YAML",
        ),
    ],
)
def test_mistake_on_command_line_is_explained(arguments: list[str], message: str) -> None:
    assert step_runner("run", *arguments) == (1, "", message)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("notes/helo", True),
        ("./notes/helo", False),
        ("notes", False),
        ("notes/helo.yml", False),
        ("group/image:1.0", False),
        ("registry.example/group/image", False),
        ("group/project@v1", False),
    ],
)
def test_missing_directory_taken_for_an_image_is_explained(
    capsys: pytest.CaptureFixture[str], text: str, told: bool
) -> None:
    """Nothing is fetched here."""
    called(Named(reference=text))
    note = f"note: directory {text} does not exist here, so it is taken for an image of registry.gitlab.com\n"
    assert capsys.readouterr().err == (note if told else "")


# While running.


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        pytest.param("make-it", 127, 'Error: step "main": step "a": exec: exit status 127\n', id="unknown command"),
        pytest.param(
            "echo text=hi > ${{ output_file }}",
            1,
            'Error: step "main": step "a": output file of step "a", line 1: '
            'JSON is malformed: invalid character (byte 4): write {"name": "...", "value": ...}\n',
            id="output in the old form",
        ),
        pytest.param(
            "echo ${{ vars.STAGE }}",
            1,
            'Error: step "main": step "a": expand input "script": evaluating expression failed at ".STAGE":'
            " attribute not found\n  echo ${{ vars.STAGE }}\n               ^~~~~~\n",
            id="unknown job variable",
        ),
    ],
)
def test_mistake_at_run_time_is_explained(directory: Path, script: str, status: int, message: str) -> None:
    (directory / "main.yml").write_text(f"{BEGINNING}  - name: a\n    script: {script}\n")
    ended = step_runner("run", "main.yml")
    assert (ended.status, ended.stdout) == (status, "")
    assert ended.stderr.endswith(message)


# In STEPS.


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        pytest.param(
            "echo hello",
            'STEPS:1:1: the run list is a string, not a list; write a list whose items begin with "- name: NAME"\n',
            id="script in place of a list",
        ),
        pytest.param(
            "run:\n  - script: echo\n",
            'STEPS:1:1: the run list is a mapping, not a list; write a list whose items begin with "- name: NAME"\n',
            id="whole definition",
        ),
        pytest.param(
            "[{name: a, func: ./helo}]",
            'STEPS:1:18: helo: no such directory; did you mean "hello"?\n',
            id="misspelt directory",
        ),
        pytest.param(
            "[{name: a, script: echo ${{ vars.X }}}]",
            "STEPS:1:26: put text with ${{ }} in quotes when it is inside of [ ] or { }\n",
            id="expression without quotes",
        ),
    ],
)
def test_mistake_in_steps_variable_is_explained(monkeypatch: pytest.MonkeyPatch, steps: str, message: str) -> None:
    monkeypatch.setenv("STEPS", steps)
    assert step_runner("ci") == (1, "", f"{BANNER}{message}Error: nothing was run: 1 error\n")
