"""Checks the metadata and the packages of a wheel, and tells its name and version."""

import json
import sys
import zipfile
from email.parser import Parser
from pathlib import Path


def main(wheel: str, packages: str, output_file: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        fields = Parser().parsestr(archive.read(metadata).decode())
    name, version = fields["Name"], fields["Version"]
    if not Path(wheel).name.startswith(f"{name.replace('-', '_')}-{version}-"):
        sys.exit(f"the wheel's metadata say {name} {version}, its file name says {Path(wheel).name}")
    for package in json.loads(packages):
        if f"{package}/__init__.py" not in names:
            sys.exit(f"the wheel does not hold the package {package}")
    lines = [json.dumps({"name": key, "value": value}) for key, value in (("name", name), ("version", version))]
    Path(output_file).write_text("\n".join(lines))
    print(f"{name} {version} holds {packages}")


main(*sys.argv[1:])
