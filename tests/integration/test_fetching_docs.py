"""The examples of docs/fetching.md are valid."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from step_runner.functions.check import check
from step_runner.functions.reference import parse_reference
from step_runner.model import Git, Local, Oci

PAGE = (Path(__file__).parents[2] / "docs" / "fetching.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_steps_of_page_pass_check(block: str, tmp_path: Path) -> None:
    path = tmp_path / "func.yml"
    path.write_text("{}\n---\nrun:\n" + textwrap.indent(block, "  "))

    assert check([path]) == ()


@pytest.mark.parametrize(("start", "kind"), [("./", Local), ("https://", Git), ("registry.", Oci)])
def test_references_of_table_parse_to_their_kinds(start: str, kind: type) -> None:
    (written,) = re.findall(rf"^\| `({re.escape(start)}[^`]*)`", PAGE, re.MULTILINE)

    assert isinstance(parse_reference(written), kind)
