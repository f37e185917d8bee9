"""The environment of a step, lowest to highest: the job's, exports, enclosing sequences, the step's, its function's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.steps import run_list, script, shell

if TYPE_CHECKING:
    from tests.runner.conftest import Workshop

SHOW = 'echo "$V ${{ env.V }}"'


def export(value: str) -> str:
    line = json.dumps({"name": "V", "value": value})
    return f"echo '{line}' >>${{{{ export_file }}}}"


@pytest.mark.parametrize(
    ("exported", "sequence", "step", "own", "winner"),
    [
        (False, False, False, False, "job"),
        (True, False, False, False, "export"),
        (True, True, False, False, "sequence"),
        (True, True, True, False, "step"),
        (True, True, True, True, "own"),
        (True, False, True, False, "step"),
        (True, False, False, True, "own"),
        (False, True, False, True, "own"),
    ],
)
async def test_higher_levels_win(
    workshop: Workshop, exported: bool, sequence: bool, step: bool, own: bool, winner: str
) -> None:
    workshop.write("show", shell('echo "$V"', env={"V": "own"} if own else {}))
    first = [{"name": "first", "script": export("export")}] if exported else []
    last = {"name": "show", "step": "./show", "env": {"V": "step"} if step else {}}
    steps = run_list(*first, last, env={"V": "sequence"} if sequence else {})
    assert await workshop.output(steps, env={"V": "job"}) == [winner]


async def test_expressions_see_environment_of_the_command(workshop: Workshop) -> None:
    steps = run_list({"name": "a", "script": export("export")}, {"name": "b", "script": SHOW})
    assert await workshop.output(steps, env={"V": "job"}) == ["export export"]


async def test_export_reaches_nested_sequence_and_later_steps(workshop: Workshop) -> None:
    """It can change a variable that had a value at the start of the sequence."""
    workshop.write("inner", script(SHOW, export("inside"), SHOW))
    steps = run_list(
        {"name": "a", "script": export("before")},
        {"name": "b", "step": "./inner"},
        {"name": "c", "script": SHOW},
    )
    assert await workshop.output(steps, env={"V": "job"}) == ["before before", "inside inside", "inside inside"]


async def test_step_environment_hides_exports_for_its_callees(workshop: Workshop) -> None:
    workshop.write("inner", script(export("inside"), SHOW))
    steps = run_list({"name": "a", "step": "./inner", "env": {"V": "step"}}, {"name": "b", "script": SHOW})
    assert await workshop.output(steps) == ["step step", "inside inside"]


async def test_step_environment_does_not_reach_later_steps(workshop: Workshop) -> None:
    show = 'echo "[$V]"'
    steps = run_list({"name": "a", "script": show, "env": {"V": "a"}}, {"name": "b", "script": show})
    assert await workshop.output(steps) == ["[a]", "[]"]


async def test_step_environment_is_expanded_by_the_caller(workshop: Workshop) -> None:
    """Its own environment and that of the function are not visible there."""
    workshop.write("show", shell('echo "$V $W"', env={"W": "own"}))
    step = {"name": "a", "step": "./show", "env": {"V": "${{ env.W }}", "W": "step"}}
    assert await workshop.output(run_list(step), env={"W": "job"}) == ["job own"]


async def test_function_environment_is_expanded_in_the_function(workshop: Workshop) -> None:
    workshop.write(
        "show",
        shell('echo "$V"', env={"V": "${{ inputs.x }} ${{ env.W }}"}, spec={"inputs": {"x": {"type": "string"}}}),
    )
    step = {"name": "a", "step": "./show", "inputs": {"x": "input"}, "env": {"W": "step"}}
    assert await workshop.output(run_list(step)) == ["input step"]


async def test_command_gets_only_its_environment(workshop: Workshop) -> None:
    """The one exception is the cookie by which its background processes are found."""
    steps = run_list({"name": "a", "step": "./show"})
    workshop.write("show", "{}\n---\nexec: {command: [env]}\n")
    lines = await workshop.output(steps, env={"V": "job"})
    assert sorted(line.partition("=")[0] for line in lines) == ["GRACEFULEXITCMD_COOKIE", "PATH", "TMPDIR", "V"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (run_list({"name": "a", "script": "x", "env": {"K": "${{ env.NONE }}"}}), 'step "a": env "K": '),
        (run_list({"name": "a", "script": "x"}, env={"K": "${{ vars.NONE }}"}), 'expand step env: env variable "K": '),
        (shell("true", env={"K": "${{ vars.NONE }}"}), 'expand step env: env variable "K": '),
    ],
    ids=["step", "sequence", "command"],
)
async def test_failing_expression_names_its_variable(workshop: Workshop, text: str, message: str) -> None:
    assert (await workshop.error(text)).startswith(message)
