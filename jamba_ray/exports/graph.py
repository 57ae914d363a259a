"""Builds an ONNX file node by node; the only file that imports ``onnx``.

Names of nodes and constants begin with ``/``, so that none is a column of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
ML_OPSET = 5
"""The first in which trees may be float64: ``TreeEnsemble``."""
_IR_VERSION = 10
_TYPES = {
    "double": TensorProto.DOUBLE,
    "float": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "string": TensorProto.STRING,
}
ROWS = "rows"
"""The name of the dimension that may be of any length."""


class Graph:
    """Collects the nodes, constants, inputs and outputs of one file."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._n = 0

    def constant(self, value: npt.ArrayLike, kind: type[np.generic] | None = None) -> str:
        """Adds a constant and returns its name."""
        name = self._name("constant")
        array = np.array(value, dtype=kind, order="C")
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def __call__(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        name = self._name(op)
        given = {
            key: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for key, value in attributes.items()
        }
        self._nodes.append(helper.make_node(op, list(inputs), [name], name, domain=domain, **given))
        return name

    def input(self, name: str, kind: str) -> str:
        """Adds an input [rows] and returns its name."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[kind], [ROWS]))
        return name

    def output(self, name: str, source: str, kind: str) -> None:
        """Adds an output [rows] that is ``source``."""
        self._nodes.append(helper.make_node("Identity", [source], [name], f"/{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[kind], [ROWS]))

    def embed(self, model: Any, inputs: Sequence[str]) -> str:
        """Adds the nodes of another model (a ``ModelProto``) and returns its first output.

        ``inputs`` take the places of its inputs, in their order.
        """
        graph, prefix = model.graph, self._name("part")
        names: dict[str, str] = dict(zip([i.name for i in graph.input], inputs, strict=True))

        def renamed(name: str) -> str:
            return names.get(name, f"{prefix}/{name}" if name else "")

        for constant in graph.initializer:
            constant.name = renamed(constant.name)
            self._constants.append(constant)
        for node in graph.node:
            node.name = f"{prefix}/{node.name}"
            node.input[:] = [renamed(one) for one in node.input]
            node.output[:] = [renamed(one) for one in node.output]
            self._nodes.append(node)
        return renamed(str(graph.output[0].name))

    def to_bytes(self, metadata: Mapping[str, str], version: str) -> bytes:
        """Returns the file, checked by ``onnx``."""
        graph = helper.make_graph(
            self._nodes, "jamba_ray", self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph,
            producer_name="jamba_ray",
            producer_version=version,
            ir_version=_IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid("ai.onnx.ml", ML_OPSET),
            ],
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _name(self, what: str) -> str:
        self._n += 1
        return f"/{what}_{self._n}"


def metadata_of(raw: bytes) -> dict[str, str]:
    """Returns the metadata of an ONNX file.

    Raises:
        ValueError: It is none that stands alone: not ONNX, of unknown operators, or with parts in
            other files.
    """
    try:
        model = onnx.load_model_from_string(raw)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise many kinds
        raise ValueError(f"it is no ONNX model ({' '.join(str(error).split())[:120]})") from error
    domains = {one.domain for one in model.opset_import} | {n.domain for n in model.graph.node}
    if odd := sorted(domains - {"", "ai.onnx", "ai.onnx.ml"}):
        raise ValueError(f"it has operators of {odd[0]!r}, which ONNX does not know")
    if len(model.functions) or any(len(c.external_data) for c in model.graph.initializer):
        raise ValueError("it has parts in other files or functions of its own")
    return {one.key: one.value for one in model.metadata_props}


def with_metadata(raw: bytes, more: Mapping[str, str]) -> bytes:
    """Returns the file with more metadata."""
    model = onnx.load_model_from_string(raw)
    held = {one.key: one.value for one in model.metadata_props}
    helper.set_model_props(model, {**held, **more})
    return bytes(model.SerializeToString())
