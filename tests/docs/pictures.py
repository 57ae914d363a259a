"""Makes the pictures of the README from a real sweep: ``python -m tests.docs.pictures``.

Needs Chromium (``chromium`` on the PATH) and Pillow. With a folder of an earlier call as its
argument, the sweep is not run again.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
COMMAND = ["python", "-m", "jamba_ray.sweep", "+sweep=attention_heads", "run=attention-heads"]
WIDTH = 100
_FLAGS = """
--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars
--disable-background-networking --disable-component-update --disable-sync
"""
_CHROMIUM = ["chromium", *_FLAGS.split()]


def record(folder: Path) -> None:
    """Runs the sweep in a terminal of its own and keeps what it writes."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLUMNS=str(WIDTH), LINES="50")
        os.execvp(sys.executable, [sys.executable, *COMMAND[1:]])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    with (folder / "terminal.ansi").open("wb") as file:
        while True:
            try:
                block = os.read(terminal, 1 << 16)
            except OSError:
                break
            file.write(block)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the sweep failed")


def terminal_svg(folder: Path) -> None:
    """Draws what stays on the terminal after the sweep."""
    written = (folder / "terminal.ansi").read_bytes().decode().replace("\r", "")
    end = written[written.index("\x1b[1;32mWinner:") :]
    end = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\", "", end).rstrip()
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH + 4, file=nowhere, force_terminal=True)
        console.print(f"$ {' '.join(COMMAND)}", highlight=False)
        console.print(Text.from_ansi(end))
        svg = console.export_svg(title="jamba_ray")
    # Fonts of the machine that shows it: a picture asks nobody for anything.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.S)
    svg = svg.replace("font-family: Fira Code, monospace", "font-family: monospace")
    (IMAGES / "terminal.svg").write_text(svg, encoding="utf-8")


def report_png(folder: Path) -> None:
    """Photographs the report."""
    from PIL import Image

    report = folder / "runs" / "attention-heads" / "report.html"
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "report.png"
        settings = [f"--user-data-dir={scratch}/profile", f"--screenshot={shot}"]
        size = ["--window-size=1000,1250", "--force-device-scale-factor=1"]
        subprocess.run([*_CHROMIUM, *settings, *size, report.as_uri()], check=True, timeout=120)
        picture = Image.open(shot).convert("RGB")
        picture.save(IMAGES / "report.png", optimize=True)


def main() -> None:
    """Makes both pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="pictures-"))
    if not (folder / "terminal.ansi").exists():
        record(folder)
    terminal_svg(folder)
    report_png(folder)


if __name__ == "__main__":
    main()
