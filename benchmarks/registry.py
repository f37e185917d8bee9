"""Measures the speed and memory of fetches from a registry, and the cost of a cached function in a step."""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measure import Bound, Figure, Measure, machine, seconds, table, write_json
from tests.support.images import HERE, archive, files, member, push
from tests.support.registry import PROGRAM, RegistryServer

from step_runner.fetch.cache import Cache
from step_runner.fetch.oci.fetch import fetch_oci
from step_runner.fetch.oci.manifest import digest_of
from step_runner.model import Oci
from step_runner.proc import Proc

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CACHED_DIGEST = Measure("cached function by digest, added to a step", "ms", None, Bound(2, "ms"))
CACHED_TAG = Measure("cached function by tag, added to a step", "ms")
FETCH = "image of {} fetched"
MEMORY = Measure("memory while an image is fetched", "MB", None, Bound(60, "MB"))

LAYERS = 4
STEPS = 50

FUNCTION = "{}\n---\nexec: {command: ['true']}\n"

PROBE = """
import sys
from pathlib import Path
from step_runner.fetch.cache import Cache
from step_runner.proc import Proc
from step_runner.fetch.oci.fetch import fetch_oci
from step_runner.jobs import manager
from step_runner.model import Oci

def memory(name):
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name))

registry, repository, root = sys.argv[1:]
idle = memory("VmRSS")
fetch_oci(Oci(registry=registry, repository=repository), Cache(root), Proc(0), environment=dict)
print((memory("VmHWM") - idle) * 1024)
"""


class Setting(NamedTuple):
    """A registry with images, and a directory for the measurement."""

    server: RegistryServer
    directory: Path
    blobs: Mapping[str, Sequence[str]]
    digest: str
    layer: int
    """The size of each layer in bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; always return the exit status 0."""
    options = _options(arguments)
    if not PROGRAM or not shutil.which("curl"):
        print("not measured: needs docker-registry, which .ci/install brings, and curl")
        return 0
    print(machine(), flush=True)
    with _setting(layer=2_500_000 if options.short else 25_000_000) as setting:
        figures = list(_figures(setting, times=1 if options.short else 15))
    print(table(figures, "curl"))
    if options.json:
        write_json(options.json, figures)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registry", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer samples")
    parser.add_argument("--json", metavar="FILE", help="write the figures with all samples into a file")
    return parser.parse_args(arguments)


@contextmanager
def _setting(layer: int) -> Iterator[Setting]:
    """Start a registry with a small function, and with images of incompressible layers in each form."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        with closing(RegistryServer(directory / "registry")) as server:
            digest = push(server, "small", "latest", {HERE: [files(func__yml=FUNCTION)]})
            blobs = {}
            for form, compress in _forms().items():
                layers = [compress(_layer(number, layer)) for number in range(LAYERS)]
                push(server, form, "latest", {HERE: layers})
                blobs[form] = [digest_of(layer) for layer in layers]
            yield Setting(server, directory, blobs, digest, layer)


def _forms() -> dict[str, Callable[[bytes], bytes]]:
    return {"tar": lambda layer: layer, "zstd": zstd.compress, "gzip": lambda layer: gzip.compress(layer, 1)}


def _layer(number: int, size: int) -> bytes:
    content = random.Random(number).randbytes(size // 10)
    return archive(*(member(f"{number}/{name}", content) for name in range(10)))


def _figures(setting: Setting, times: int) -> Iterator[Figure]:
    yield _added(setting, CACHED_DIGEST, f"127.0.0.1:{setting.server.port}/small@{setting.digest}", times)
    yield _added(setting, CACHED_TAG, f"127.0.0.1:{setting.server.port}/small:latest", times)
    for form in setting.blobs:
        pairs = [(_fetch(setting, form), _curl(setting, form)) for _ in range(times + 1)][1:]
        ours, references = zip(*pairs, strict=True)
        measure = Measure(FETCH.format(form), "MB/s", None, Bound(0.7, "x"))
        yield Figure(replace(measure, reference=Figure(measure, references).median), ours)
    yield Figure(MEMORY, [_memory(setting, form) for form in setting.blobs for _ in range(max(1, times // 3))])


def _added(setting: Setting, measure: Measure, reference: str, times: int) -> Figure:
    """Return how much longer a step takes than a step that calls the same function in a directory."""
    local = setting.directory / "local"
    local.mkdir(exist_ok=True)
    (local / "func.yml").write_text(FUNCTION)
    pairs = [(_run(setting, reference), _run(setting, str(local))) for _ in range(times + 1)][1:]
    return Figure(measure, [1000 * (fetched - found) / STEPS for fetched, found in pairs])


def _run(setting: Setting, reference: str) -> float:
    """Return the seconds that the program needs for a function of many steps."""
    steps = setting.directory / "steps.yml"
    calls = "".join(f"  - {{name: s{number}, func: {reference!r}}}\n" for number in range(STEPS))
    steps.write_text("{}\n---\nrun:\n" + calls)
    command = [sys.executable, "-m", "step_runner", "run", str(steps)]
    env = {**os.environ, "TMPDIR": str(setting.directory), "XDG_CACHE_HOME": str(setting.directory)}
    return seconds(lambda: subprocess.run(command, env=env, capture_output=True, check=True))


def _fetch(setting: Setting, form: str) -> float:
    root = setting.directory / "cache"
    reference = Oci(registry=setting.server.host, repository=form)
    took = seconds(lambda: fetch_oci(reference, Cache(root), Proc(0), environment=dict))
    shutil.rmtree(root)
    return LAYERS * setting.layer / 1e6 / took


def _curl(setting: Setting, form: str) -> float:
    """Fetch all blobs to files with one curl, over one connection."""
    directory = setting.directory / "curl"
    directory.mkdir()
    urls = [f"http://{setting.server.host}/v2/{form}/blobs/{digest}" for digest in setting.blobs[form]]
    command = ["curl", "--silent", "--fail", "--remote-name-all", *urls]
    took = seconds(lambda: subprocess.run(command, cwd=directory, check=True))
    shutil.rmtree(directory)
    return LAYERS * setting.layer / 1e6 / took


def _memory(setting: Setting, form: str) -> float:
    """Return the peak memory of a process during a fetch, above its memory before the fetch."""
    root = str(setting.directory / "cache")
    command = [sys.executable, "-c", PROBE, setting.server.host, form, root]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    shutil.rmtree(root)
    return int(printed) / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
