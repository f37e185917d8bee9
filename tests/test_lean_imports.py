"""Libraries that are imported without a part do what they do with it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from step_runner.imports import plain_character_classes

CLASSES = (
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
    "[a-zäöü\u0100-\u2fff]",
    r"[^\w\u3000]",
)


@pytest.mark.parametrize("pattern", CLASSES)
@pytest.mark.parametrize("flags", [0, re.IGNORECASE], ids=["as it is", "ignoring case"])
def test_plain_character_class_matches_the_same_characters(pattern: str, flags: int) -> None:
    optimized = re.compile(pattern, flags)
    re.purge()
    with plain_character_classes():
        plain = re.compile(pattern, flags)
    every = "".join(map(chr, range(0x110000)))
    assert plain.findall(every) == optimized.findall(every)


def test_yaml_is_imported_without_character_tables() -> None:
    """The one of yaml.reader takes longer than the rest of yaml, and the parser in C does not use it."""
    program = (
        "import re._compiler as compiler, sys; seen = []; real = compiler._mk_bitmap; "
        "compiler._mk_bitmap = lambda bits: seen.append(len(bits)) or real(bits); "
        "import step_runner.functions.document; assert 'yaml.reader' in sys.modules; print(max(seen, default=0))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(ended.stdout) <= 256


def test_local_run_imports_no_fetching() -> None:
    """Functions on this machine need no URLs, of which the module takes milliseconds."""
    program = (
        "import sys; import step_runner.cli.run, step_runner.jobs.local, step_runner.functions.check; "
        "print(*{'step_runner.fetch.url', 'tempfile', 'shutil', 'hashlib'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"
