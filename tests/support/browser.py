"""A real browser without a window: Debian's Chromium, driven through the pipe of its DevTools protocol."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from tests.support.absent import absent

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

OPTIONS = (
    *("--headless", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"),
    "--remote-debugging-pipe",
    "--no-sandbox",  # Chromium refuses to run its sandbox as root
)


class Browser:
    """A browser with one open page; `requests` holds the addresses that the page has requested."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium")
        if program is None:
            absent("chromium")
        self.requests: list[str] = []
        self._numbers = itertools.count(1)
        self._session: str | None = None
        theirs_in, self._out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self._in = os.fdopen(ours_in, "rb")
        # --remote-debugging-pipe reads from descriptor 3 and writes to descriptor 4.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "", program, *OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def __enter__(self) -> Self:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_error: object) -> None:
        self._session = None
        self._send("Browser.close")
        self._in.read()
        self._in.close()
        os.close(self._out)
        self._process.wait()

    def open(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self._call("Page.navigate", url=address)
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true; only the test's timeout limits the wait."""
        look = f"const look = () => {{const found = {expression}; found ? done(found) : setTimeout(look, 50)}}"
        promise = f"new Promise(done => {{{look}; look()}})"
        result = self._call("Runtime.evaluate", expression=promise, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = self._send(method, **parameters)
        while (message := self._read()).get("id") != number:
            pass
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _send(self, method: str, **parameters: object) -> int:
        number = next(self._numbers)
        session = {} if self._session is None else {"sessionId": self._session}
        message = {"id": number, "method": method, "params": parameters, **session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return number

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser has ended"
            content += byte
        message: dict[str, Any] = json.loads(content)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message
