"""Updates one output of a notebook's cell, as ``rich.live.Live`` redraws lines of a terminal.

Rich's own needs ipywidgets in the kernel and in the browser; this one needs IPython alone.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

_PRE = (
    '<pre style="line-height:normal;overflow-x:auto;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


class NotebookLive:
    """Shows what ``render`` returns, anew every ``every_s`` seconds from a thread.

    Args:
        render: Returns what is shown.
        width: Characters in a line.
        every_s: Seconds between two drawings.
    """

    def __init__(
        self, render: Callable[[], RenderableType], width: int, every_s: float = 1.0
    ) -> None:
        self._render, self._width, self._every_s = render, width, every_s
        self._handle: Any = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-cell", daemon=True)

    def start(self, refresh: bool = False) -> None:
        """Makes the output in the cell that runs now."""
        from IPython.display import HTML, display

        self._handle = display(HTML(self._html()), display_id=True)
        self._thread.start()

    def refresh(self) -> None:
        """Draws anew at once."""
        self._show(self._html())

    def stop(self) -> None:
        """Ends the drawing and removes what was shown."""
        self._over.set()
        self._thread.join()
        self._show("")

    def _loop(self) -> None:
        while not self._over.wait(self._every_s):
            self.refresh()

    def _show(self, html: str) -> None:
        from IPython.display import HTML

        self._handle.update(HTML(html))

    def _html(self) -> str:
        console = Console(file=io.StringIO(), record=True, width=self._width, force_jupyter=False)
        console.print(self._render())
        return console.export_html(inline_styles=True, code_format=_PRE)
