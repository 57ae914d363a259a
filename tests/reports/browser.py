"""Chromium without a window, driven over its DevTools protocol: what a page says, asks for and
shows on a screen of any size."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--hide-scrollbars", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--remote-debugging-port=0"),
    # The browser's own calls home go nowhere.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


class Browser:
    """A browser with a profile of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._profile = folder / "profile"
        self._loop = asyncio.new_event_loop()
        self._last = 0
        self.complaints: list[str] = []
        """What the page wrote to its console, threw, or was refused."""
        self.asked: set[str] = set()
        """URLs that the page asked for, itself and what it holds inside left out."""

    def __enter__(self) -> Browser:
        line = [str(CHROMIUM), *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(line, stdout=quiet, stderr=quiet)
        self._loop.run_until_complete(self._connect())
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._call("Browser.close")
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(self._http.close())
        self._loop.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def open(self, uri: str, width: int = 1200, *, dark: bool = False, height: int = 900) -> None:
        """Shows a page, once it is loaded; forgets what earlier ones said."""
        self.complaints, self.asked, self._uri = [], set(), uri
        # Away first: the same page again with a setting after # would not be loaded.
        self._call("Page.navigate", url="about:blank")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        self._call("Emulation.setDeviceMetricsOverride", **metrics, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=uri)
        for _ in range(200):
            if self.run("document.readyState") == "complete" and self.run("location.href") == uri:
                break
            time.sleep(0.05)
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def run(self, script: str) -> object:
        """The value of JavaScript on the page."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self._call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: object) -> None:
        """A mouse event: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        button = {} if kind == "mouseWheel" else {"button": "left", "clickCount": 1}
        held = {"buttons": 1} if kind == "mouseMoved" else {}
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button, **held, **more)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Keeps what is shown as a PNG: the whole page, or what the screen holds."""
        found = self._call(
            "Page.captureScreenshot", captureBeyondViewport=whole, **self._all(whole)
        )
        path.write_bytes(base64.b64decode(found["data"]))

    def _all(self, whole: bool) -> dict:
        if not whole:
            return {}
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}}

    async def _connect(self) -> None:
        file = self._profile / "DevToolsActivePort"
        for _ in range(600):
            if file.exists() and len(file.read_text().split()) == 2:
                break
            await asyncio.sleep(0.1)
        port = file.read_text().split()[0]
        self._http = aiohttp.ClientSession()
        async with self._http.get(f"http://127.0.0.1:{port}/json/list") as reply:
            (page,) = [one for one in await reply.json() if one["type"] == "page"]
        self._socket = await self._http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    def _call(self, method: str, **params: object) -> dict:
        return self._loop.run_until_complete(self._asked(method, params))

    async def _asked(self, method: str, params: dict) -> dict:
        self._last += 1
        number = self._last
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 60)
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, event: str, params: dict) -> None:
        if event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(str(params))
        if event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url not in (self._uri, "about:blank") and not url.startswith("data:"):
                self.asked.add(url)
