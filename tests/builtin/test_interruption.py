"""A cancel of the functions that speak to registries: at once, by themselves, and nothing half made is kept."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.images import HERE, archive, member
from tests.support.odd_registry import send
from tests.support.steps import run_list

from step_runner.errors import message

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from tests.runner.conftest import Workshop
    from tests.support.odd_registry import OddRegistry

FUNCTIONS: dict[str, dict[str, Any]] = {
    "step/oci/fetch": {"registry": "{host}", "repository": "x", "tag": "1"},
    "step/oci/promote": {
        "from_image": "{host}/x:1",
        "to_registry": "{host}",
        "to_repository": "y",
        "to_version": "1.0.0",
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_cancel_ends_function_waiting_for_registry(
    workshop: Workshop, odd_registry: OddRegistry, name: str
) -> None:
    odd_registry.offer("x", "1", {HERE: [archive(member("a", bytes(5_000_000)))]})

    def stall(request: BaseHTTPRequestHandler) -> bool:
        if "/x/blobs/" not in request.path or request.command != "GET":
            return False
        send(request, 200, odd_registry.content(request.path)[:2_000_000], {"Content-Length": "5000000"})
        odd_registry.stall()
        return True

    odd_registry.answer = stall
    inputs = {key: text.format(host=odd_registry.host) for key, text in FUNCTIONS[name].items()}
    running = asyncio.create_task(workshop.run(run_list({"name": "a", "func": f"builtin://{name}", "inputs": inputs})))
    await asyncio.to_thread(odd_registry.stalled.wait)
    workshop.proc.cancel()
    outcome = await running

    assert outcome.error is not None
    assert message(outcome.error) == 'step "a": stopped on request; exec: exit status 143'
    assert not workshop.stopped[0][1].forced
    assert cached() == []


def cached() -> list[Path]:
    return list(Path(os.environ["XDG_CACHE_HOME"]).glob("step-runner/functions/entries/*"))
