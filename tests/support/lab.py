"""A real JupyterLab for tests, the real Chromium that opens it, and somebody in front of the recorder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import nbformat

from resonance_helpers.core.workspace import NOTEBOOKS_DIR, REPOSITORY

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def copy_lesson(name: str, folder: Path, parameters: Mapping[str, Any]) -> Path:
    """A lesson in ``folder`` with other parameters, as a learner would type them."""
    notebook = nbformat.read(NOTEBOOKS_DIR / f"{name}.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    lines = cell.source.splitlines()
    cell.source = "\n".join(
        f"{key} = {parameters[key]!r}" if (key := line.partition(" = ")[0]) in parameters else line for line in lines
    )
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@contextmanager
def jupyter_lab(folder: Path, command: Sequence[str | Path] = (), token: str = "", **environ: str) -> Iterator[str]:
    """JupyterLab at a free port of this machine; its address.

    By default it is opened on ``folder``; else by ``command``, whose JupyterLab reads its settings in ``folder``.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(folder / ".jupyter" / name) for name in ("config", "runtime", "data")}
    environment = os.environ | {f"JUPYTER_{name.upper()}_DIR": path for name, path in own.items()} | environ
    environment |= {"PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": str(folder / ".jupyter" / "ipython")}
    (folder / ".jupyter/config").mkdir(parents=True)
    server = {"port": port, "port_retries": 0, "ip": "127.0.0.1", "allow_root": True, "open_browser": False}
    settings = {
        "ServerApp": server,
        "IdentityProvider": {"token": token},
        "PasswordIdentityProvider": {"hashed_password": ""},
        "LabApp": {"open_browser": False, "news_url": None, "expose_app_in_browser": True},
    }
    (folder / ".jupyter/config/jupyter_server_config.json").write_text(json.dumps(settings))
    command = command or [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    log = (folder / ".jupyter.log").open("w")
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{address}/api", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise TimeoutError((folder / ".jupyter.log").read_text()[-2000:])
        yield address
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@contextmanager
def chromium(heard: Path) -> Iterator[Any]:
    """A browser whose microphone plays the WAV ``heard`` again and again; it asks for permission like any other."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={heard}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def open_lesson(page: Any, address: str, name: str) -> None:
    """Open a lesson and run all its cells."""
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")  # no other lesson beside it
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
    page.wait_for_selector("text=| Idle", timeout=90_000)  # the status bar's; before that a dialog asks for a kernel
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")  # never awaited: it waits


def scroll_to(page: Any, selector: str, timeout_s: float = 90.0) -> Any:
    """The element, which JupyterLab draws only when it is near the screen."""
    end = time.monotonic() + timeout_s
    found = page.locator(selector).first
    panel = page.locator(".jp-WindowedPanel-outer").first
    while time.monotonic() < end:
        for _ in range(60):
            if found.count():
                found.scroll_into_view_if_needed()
                return found
            panel.evaluate("node => node.scrollBy(0, 500)")
            page.wait_for_timeout(60)
        panel.evaluate("node => node.scrollTo(0, 0)")
        page.wait_for_timeout(500)
    raise TimeoutError(selector)


class Person:
    """Somebody in front of the recorder."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.root = scroll_to(page, ".rz-recorder")
        self.panel = self.root.locator(".rz-panel")

    def presses(self, key: str = "Space") -> None:
        self.page.wait_for_timeout(650)  # sooner would count as the same press
        self.page.keyboard.press(key)  # wherever the focus is

    def clicks(self, name: str) -> None:
        self.page.wait_for_timeout(650)
        self.root.locator(f".rz-{name}").click()

    def waits_for(self, **data: str) -> None:
        wanted = "".join(f"[data-{name}='{value}']" for name, value in data.items())
        self.page.wait_for_selector(f".rz-recorder{wanted}", timeout=45_000)

    def says(self, phrase: str, seconds: float) -> None:
        assert self.sees("phrase") == phrase
        self.presses()
        self.waits_for(mode="recording")
        self.page.wait_for_timeout(seconds * 1000)
        self.presses("Enter")
        self.waits_for_the_verdict()

    def waits_for_the_verdict(self) -> None:
        """Saved, or saved and better said again: a take that began in the middle of the phrase has no quiet before."""
        saved, retry = (f".rz-recorder[data-mode='idle'][data-mark='{mark}']" for mark in ("saved", "retry"))
        self.page.wait_for_selector(f"{saved}, {retry}", timeout=45_000)

    def sees(self, part: str) -> str:
        return str(self.root.locator(f".rz-{part}").inner_text())
