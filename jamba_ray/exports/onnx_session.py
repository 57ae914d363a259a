"""Scores with an ONNX file; the only file that imports ``onnxruntime``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]


class Session:
    """Holds a file that is ready to score."""

    def __init__(self, raw: bytes, threads: int = 1) -> None:
        """Raises ValueError where the runtime does not accept the file.

        ``threads`` share one call. Those that wait for each other cost more than they do.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that wait in a loop for the next call take cores from the others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                raw, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has kinds of its own
            why = " ".join(str(error).split())[:200]
            raise ValueError(f"onnxruntime does not accept it ({why})") from error
        self.inputs: tuple[str, ...] = tuple(one.name for one in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(one.name for one in self._session.get_outputs())

    @property
    def metadata(self) -> dict[str, str]:
        """Returns what is written beside the model."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(
        self, cells: Mapping[str, npt.NDArray[Any]], rows_at_a_time: int = 1000
    ) -> dict[str, npt.NDArray[Any]]:
        """Returns each output [N] for the inputs [N]."""
        n = len(next(iter(cells.values())))
        if n <= rows_at_a_time:
            return dict(zip(self.outputs, self._session.run(None, dict(cells)), strict=True))
        parts = [
            self._session.run(None, {k: v[i : i + rows_at_a_time] for k, v in cells.items()})
            for i in range(0, n, rows_at_a_time)
        ]
        return {
            name: np.concatenate([part[j] for part in parts]) for j, name in enumerate(self.outputs)
        }
