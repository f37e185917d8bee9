"""Finding what is wrong without running anything."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from step_runner.functions.check import check, check_text


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(
        "hello/func.yml",
        """
        spec:
          inputs:
            name: {type: string}
            age: {type: number, default: 1}
          outputs:
            text: {type: string}
        ---
        exec: {command: [echo, "${{ inputs.name }}"]}
        """,
    )
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(dedent(text).lstrip())


def problems(text: str, specification: str = "{}") -> list[str]:
    """The problems of a definition that begins in line 3."""
    found = check_text(f"{specification}\n---\n{dedent(text).strip()}\n", file="main.yml", directory=str(Path.cwd()))
    return [str(problem).removeprefix("main.yml:") for problem in found]


def test_a_file_without_problems() -> None:
    text = """
    env: {A: "${{ inputs.x }} ${{ vars.B }}"}
    run:
      - {name: one, func: ./hello, inputs: {name: "${{ inputs.x }}"}, env: {C: "${{ func_dir }}"}}
      - {name: two, script: "echo ${{ steps.one.outputs.text }} \\\\${{ nothing }} ${{ env }}"}
      - {name: three, script: "${{ steps.two.outputs.any || steps['one'].outputs['text'] }}"}
      - {name: four, func: "${{ vars.F }}", inputs: {any: 1}}
      - {name: five, func: gitlab.com/c/s@v1, inputs: {any: 1}}
      - {name: six, script: "${{ [steps.four.outputs.any, {a: str(steps.five.outputs.x)}, work_dir] }}"}
    outputs: {o: "${{ steps.one.outputs.text }}"}
    """

    assert problems(text, "spec: {inputs: {x: {type: string}}, outputs: {o: {type: string}}}") == []


def test_inputs_are_compared_with_those_the_function_takes() -> None:
    text = """
    run:
      - name: one
        func: ./hello
        inputs:
          nme: x
          age: old
    """

    assert problems(text) == [
        '4:5: "./hello" requires an input "name", a string; add it under inputs',
        '7:7: "./hello" takes no input "nme"; did you mean "name"?',
        '8:12: warning: input "age" is a string, but "./hello" declares the type number',
    ]


def test_inputs_with_an_expression_as_their_name_may_be_any() -> None:
    assert problems('run: [{name: one, func: ./hello, inputs: {"${{ vars.X }}": 1}}]') == []


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("inputs.y", '6:17: there is no input "y"; known: x'),
        ("envs.A", '6:10: there is no "envs" in expressions; did you mean "env"?'),
        ("steps.on.outputs.text", '6:16: no step "on" runs before; did you mean "one"?'),
        ("steps.two.outputs.x", '6:16: step "two" has not run yet; use its outputs in a later step'),
        ("steps.three.outputs.x", '6:16: step "three" has not run yet; use its outputs in a later step'),
        ("steps.one.outputs.txt", '6:28: step "one" has no output "txt"; did you mean "text"?'),
        ("steps['one'].outputs[\"txt\"]", '6:31: step "one" has no output "txt"; did you mean "text"?'),
        ("steps.one.text", '6:20: a step has no "text"; write steps.one.outputs.NAME'),
        ('1 + ("a" + "${{ inputs.y }}")[inputs.x]', '6:33: there is no input "y"; known: x'),
        ("vars[inputs.y]", '6:22: there is no input "y"; known: x'),
        ("1 +", '6:14: expected a value, found "}"'),
    ],
)
def test_names_in_expressions(expression: str, message: str) -> None:
    """The column is that of the wrong name, in a block scalar too."""
    text = f"""
    run:
      - {{name: one, func: ./hello, inputs: {{name: x}}}}
      - script: |-
         ${{{{ {expression} }}}}
        name: two
      - {{name: three, script: echo}}
    """

    assert problems(text, "spec: {inputs: {x: {type: string}}}") == [message]


def test_every_expression_of_a_script_is_looked_at() -> None:
    text = """
    run:
      - name: one
        script: |
          echo ${{ inputs.a }}
            echo ${{ 1 + }} ${{ inputs.a }}
          echo ${{ unclosed
    """

    assert problems(text) == [
        '6:23: there is no input "a"; declare it under inputs in the specification',
        '7:22: expected a value, found "}"',
        '7:36: there is no input "a"; declare it under inputs in the specification',
        '8:12: "${{" is not closed, add "}}" after the expression',
    ]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("${{ nope }}", "5:17"),
        ("'${{ nope }}'", "5:18"),
        ('"a ${{ nope }}"', "5:20"),
        ('"\\x24{{ 1 }} ${{ nope }}"', "5:30"),
        ('"${{ \\x6eope }}"', "5:13"),
        (">-\n      a\n      ${{ nope }}", "7:11"),
    ],
    ids=["plain", "single quotes", "double quotes", "escape before", "escaped itself", "folded"],
)
def test_the_place_is_that_of_the_word_where_it_can_be_found(value: str, place: str) -> None:
    text = f"run:\n  - name: a\n    script: {value}"

    assert [problem.split(": ")[0] for problem in problems(text)] == [place]


def test_env_of_a_function_is_evaluated_before_its_steps() -> None:
    assert problems('env: {A: "${{ steps.a.outputs.x }}"}\nrun: [{name: a, script: x}]') == [
        '3:21: no step "a" runs before'
    ]


def test_a_repeated_name_means_the_later_step() -> None:
    text = """
    run:
      - {name: a, func: ./hello, inputs: {name: x}}
      - {name: a, script: x}
      - {name: b, script: "${{ steps.a.outputs.any }}"}
    """

    assert problems(text) == [
        '5:12: warning: there is a step "a" above, whose outputs this one hides; give it another name'
    ]


def test_outputs_of_a_run_list_are_compared_with_the_declared_ones() -> None:
    specification = "spec: {outputs: {a: {type: string}, b: {type: number}, c: {type: string, default: x}}}"

    assert problems("run: [{name: x, script: y}]\noutputs: {a: 5, d: 1}", specification) == [
        '4:10: output "b" is declared, but not given; add it to outputs below run, or declare a default',
        '4:14: output "a" is a number, but its declared type is string',
        '4:17: output "d" is not declared; add it to outputs in the specification',
    ]


def test_delegated_outputs_are_known_through_functions(here: Path) -> None:
    write(
        "outer/func.yml",
        """
        spec: {outputs: delegate}
        ---
        run: [{name: a, func: ../hello, inputs: {name: x}}]
        delegate: a
        """,
    )
    text = """
    run:
      - {name: a, func: ./outer}
      - {name: b, script: "${{ steps.a.outputs.text }} ${{ steps.a.outputs.txt }}"}
    """

    assert problems(text) == ['5:72: step "a" has no output "txt"; did you mean "text"?']


def test_called_functions_are_checked_once_with_their_own_places() -> None:
    write("inner/func.yml", '{}\n---\nexec: {command: ["${{ inputs.x }}"], work_dir: "${{ steps.x }}"}\n')
    text = "run: [{name: a, func: ./inner}, {name: b, step: ./inner}]"
    found = check_text("{}\n---\n" + text, file="main.yml", directory=str(Path.cwd()))

    assert [str(problem) for problem in found] == [
        'inner/func.yml:3:30: there is no input "x"; declare it under inputs in the specification',
        'inner/func.yml:3:59: no step "x" runs before',
    ]


def test_a_function_that_calls_itself_is_told_with_the_chain() -> None:
    write("a/func.yml", "{}\n---\nrun: [{name: b, func: ../b}]\n")
    write("b/func.yml", "{}\n---\nrun: [{name: a, func: ../a}]\n")

    assert [str(problem) for problem in check(["a"])] == [
        "b/func.yml:3:23: the function calls itself without end: a/func.yml calls b/func.yml calls a/func.yml;"
        " remove one of the calls"
    ]


def test_files_and_directories_are_checked_and_problems_are_in_their_order() -> None:
    write("one.yml", "{}\n---\nrun: [{name: a, func: ./nothing}]\n")
    write("two/step.yml", "{}\n---\nrun: []\n")

    assert [str(problem) for problem in check(["two", "one.yml", "hello", "three.yml", "two/step.yml"])] == [
        'two/step.yml:3:6: "run" of the definition is an empty list; write a list whose items begin with '
        '"- name: NAME"',
        "one.yml:3:23: nothing: no such directory; a function is a directory with func.yml or step.yml",
        "three.yml:1:1: no such file, but there is one.yml; a function is a directory with func.yml or step.yml",
    ]


def test_a_bare_list_is_checked() -> None:
    found = check_text("- {func: ./hello}\n", file="STEPS", directory="", bare=True)

    assert [str(problem) for problem in found] == [
        'STEPS:1:3: "./hello" requires an input "name", a string; add it under inputs'
    ]


def test_two_thousand_steps_are_checked() -> None:
    """Work that grows faster than the file would take minutes, and the test's timeout would end it."""
    items = "".join(
        f"  - {{name: f{number}, func: ./hello, inputs: {{name: x}}}}\n"
        f"  - name: s{number}\n    script: |\n      echo\n      echo ${{{{ steps.f{number}.outputs.txt }}}}\n"
        for number in range(1000)
    )
    found = check_text("{}\n---\nrun:\n" + items, file="main.yml", directory=str(Path.cwd()))

    assert len(found) == 1000
