"""Builds the wheel of the project in the current directory, and tells which file that is, its size and its hash."""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main(directory: str, output_file: str) -> None:
    wheel = _built(Path(directory).absolute())
    content = wheel.read_bytes()
    outputs = {"wheel": str(wheel), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    lines = [json.dumps({"name": name, "value": value}) for name, value in outputs.items()]
    Path(output_file).write_text("\n".join(lines))
    print(f"built {wheel.name}")


def _built(directory: Path) -> Path:
    """The new wheel; it replaces an older one of the same version at once."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as made:
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", made], check=True)
        (wheel,) = Path(made).glob("*.whl")
        return wheel.replace(directory / wheel.name)


main(*sys.argv[1:])
