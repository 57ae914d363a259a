"""Adds a network of this package node by node; others are exported by torch.

Torch's exporter takes 15 s for a network of which this makes the same in a hundredth, and needs a
package more.

Letters: N rows, F_n / F_c numeric / categorical features, F their sum, T bins, D width, H heads.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.exports.graph import OPSET, Graph
from jamba_ray.models.attention import Attention, Block, SelfAttention
from jamba_ray.models.dropout import Dropout
from jamba_ray.models.feature_layers import FeatureLayer
from jamba_ray.models.mlp import Mlp
from jamba_ray.models.tabm import EnsembleLayer, Tabm
from jamba_ray.models.tokens import FeatureTokens, NumericTokens, Periodic, PiecewiseLinear


def logits(
    g: Graph, module: nn.Module, schema: FeatureSchema, x_num: str | None, x_cat: str | None
) -> str:
    """Returns the network's outputs, float32 [N].

    Raises:
        ValueError: It cannot be exported.
    """
    if type(module) is Attention:
        tokens = _tokens(g, module.tokens, x_num, x_cat)
        for block in module.blocks:
            tokens = _of(g, block, tokens)
        pooled = _flat(g, tokens) if module.is_flat else _mean(g, tokens)
    elif type(module) is Tabm:
        return _tabm(g, module, _flat(g, _tokens(g, module.tokens, x_num, x_cat)))
    elif type(module) is Mlp:
        pooled = _flat(g, _tokens(g, module.tokens, x_num, x_cat))
    else:
        return _by_torch(g, module, schema, x_num, x_cat)
    for layer in module.feature_layers:
        pooled = _of(g, layer, pooled)
    return g("Squeeze", _of(g, module.head, pooled), _axes(g, 1))


# --- layers -----------------------------------------------------------------------------------


def _of(g: Graph, layer: nn.Module, x: str) -> str:
    return _LAYERS[type(layer)](g, layer, x)


def _linear(g: Graph, layer: nn.Linear, x: str) -> str:
    found = g("MatMul", x, _weight(g, layer.weight.T))
    return found if layer.bias is None else g("Add", found, _weight(g, layer.bias))


def _layer_norm(g: Graph, layer: nn.LayerNorm, x: str) -> str:
    scale, offset = _weight(g, layer.weight), _weight(g, layer.bias)
    return g("LayerNormalization", x, scale, offset, axis=-1, epsilon=layer.eps)


def _batch_norm(g: Graph, layer: nn.BatchNorm1d, x: str) -> str:
    state = layer.state_dict()
    held = [_weight(g, state[n]) for n in ("weight", "bias", "running_mean", "running_var")]
    return g("BatchNormalization", x, *held, epsilon=layer.eps)


def _silu(g: Graph, layer: nn.SiLU, x: str) -> str:
    return g("Mul", x, g("Sigmoid", x))


def _feature_layer(g: Graph, layer: FeatureLayer, x: str) -> str:
    y = _of(g, layer.activation, _of(g, layer.norm, _of(g, layer.linear, x)))
    return g("Add", x, y) if layer.is_residual else y


def _block(g: Graph, block: Block, x: str) -> str:
    x = g("Add", x, _of(g, block.attention, _of(g, block.attention_norm, x)))
    hidden = _of(g, block.activation, _of(g, block.widen, _of(g, block.token_norm, x)))
    return g("Add", x, _of(g, block.narrow, hidden))


def _self_attention(g: Graph, layer: SelfAttention, x: str) -> str:
    """Computes [N, F, D] -> [N, F, D]."""
    width = layer.out.in_features
    head = width // layer.n_heads

    def heads(part: int) -> str:
        weight = layer.qkv.weight[part * width : (part + 1) * width]
        of_part = g("MatMul", x, _weight(g, weight.T))
        shape = g.constant([0, 0, layer.n_heads, head], np.int64)
        return g("Transpose", g("Reshape", of_part, shape), perm=[0, 2, 1, 3])  # [N, H, F, E]

    q, k, v = (heads(part) for part in range(3))
    scaled = g("Mul", q, g.constant(head**-0.5, np.float32))
    weights = g("Softmax", g("MatMul", scaled, g("Transpose", k, perm=[0, 1, 3, 2])), axis=-1)
    mixed = g("Transpose", g("MatMul", weights, v), perm=[0, 2, 1, 3])
    return _of(g, layer.out, g("Reshape", mixed, g.constant([0, 0, width], np.int64)))


_LAYERS: dict[type[nn.Module], Callable[[Graph, Any, str], str]] = {
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.SiLU: _silu,
    FeatureLayer: _feature_layer,
    Block: _block,
    SelfAttention: _self_attention,
    Dropout: lambda g, layer, x: x,
}


def _tabm(g: Graph, module: Tabm, x: str) -> str:
    """Returns the log-odds of the mean probability of all heads."""
    first, heads = module.first, module.first.n_heads
    scaled = g("Mul", _weight(g, first.weight), _weight(g, first.scale_in.view(heads, 1, -1)))
    joined = g("Reshape", scaled, g.constant([-1, first.weight.shape[1]], np.int64))
    y = g("MatMul", x, g("Transpose", joined, perm=[1, 0]))
    y = g("Add", g("Mul", y, _weight(g, first.scale_out)), _weight(g, first.bias))
    x = g("Reshape", y, g.constant([0, heads, first.weight.shape[0]], np.int64))
    x = g("Mul", x, g("Sigmoid", x))
    for layer in module.layers:
        assert isinstance(layer, EnsembleLayer)
        scale_in, scale_out, bias = (
            _weight(g, one.view(heads, -1)) for one in (layer.scale_in, layer.scale_out, layer.bias)
        )
        y = g("MatMul", g("Mul", x, scale_in), _weight(g, layer.weight.T))
        y = g("Add", g("Mul", y, scale_out), bias)
        x = g("Mul", y, g("Sigmoid", y))
    weighted = g("Mul", x, _weight(g, module.head))
    z = g("Add", g("ReduceSum", weighted, _axes(g, -1), keepdims=0), _weight(g, module.head_bias))
    threat = g("Neg", g("Softplus", g("Neg", z)))
    benign = g("Neg", g("Softplus", z))
    both = (g("ReduceLogSumExp", one, _axes(g, -1), keepdims=0) for one in (threat, benign))
    return g("Sub", *both)


# --- tokens -----------------------------------------------------------------------------------


def _tokens(g: Graph, tokens: FeatureTokens, x_num: str | None, x_cat: str | None) -> str:
    """Returns the tokens [N, F, D]."""
    parts = []
    if tokens.numeric is not None:
        assert x_num is not None
        parts.append(_numeric(g, tokens.numeric, x_num))
    if tokens.categorical is not None:
        assert x_cat is not None
        codes = g("Add", x_cat, _weight(g, tokens.categorical.offset))
        parts.append(g("Gather", _weight(g, tokens.categorical.table), codes))
    joined = parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1)
    return g("Add", joined, _weight(g, tokens.column))


def _numeric(g: Graph, tokens: NumericTokens, x_num: str) -> str:
    """Returns the tokens [N, F_n, D] of scaled numbers [N, F_n]."""
    linear = g("Mul", g("Unsqueeze", x_num, _axes(g, 2)), _weight(g, tokens.slope))
    if tokens.encoding is None:
        return linear
    by_feature = g("Unsqueeze", g("Transpose", x_num, perm=[1, 0]), _axes(g, 2))  # [F_n, N, 1]
    encoded = g("MatMul", _encoded(g, tokens.encoding, by_feature), _weight(g, tokens.weight))
    return g("Add", linear, g("Transpose", encoded, perm=[1, 0, 2]))


def _encoded(g: Graph, encoding: nn.Module, x: str) -> str:
    """Returns the encoding [F_n, N, T] of [F_n, N, 1]."""
    if isinstance(encoding, PiecewiseLinear):
        x = g("Mul", g("Sub", x, _weight(g, encoding.low)), _weight(g, encoding.per_width))
        return g("Clip", x, g.constant(0.0, np.float32), g.constant(1.0, np.float32))
    assert isinstance(encoding, Periodic)
    angle = g("Mul", x, _weight(g, 2 * math.pi * encoding.frequency))
    return g("Concat", g("Cos", angle), g("Sin", angle), axis=-1)


def _flat(g: Graph, x: str) -> str:
    return g("Flatten", x, axis=1)


def _mean(g: Graph, x: str) -> str:
    return g("ReduceMean", x, _axes(g, 1), keepdims=0)


def _axes(g: Graph, axis: int) -> str:
    return g.constant([axis], np.int64)


def _weight(g: Graph, tensor: Tensor) -> str:
    return g.constant(_array(tensor))


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = tensor.detach().cpu().numpy()
    return found


# --- other networks ---------------------------------------------------------------------------


def _by_torch(
    g: Graph, module: nn.Module, schema: FeatureSchema, x_num: str | None, x_cat: str | None
) -> str:
    """Lets torch export a network that is not listed here.

    Raises:
        ValueError: Torch cannot export it.
    """
    none = g.constant(np.zeros(0, dtype=np.int64))
    if x_num is None:
        assert x_cat is not None
        x_num = g("Cast", g("Gather", x_cat, none, axis=1), to=1)  # float32
    if x_cat is None:
        x_cat = g("Cast", g("Gather", x_num, none, axis=1), to=7)  # int64
    n_numeric, n_codes = len(schema.numeric), len(schema.categorical)
    examples = (torch.zeros(3, n_numeric), torch.zeros(3, n_codes, dtype=torch.int64))
    rows = torch.export.Dim("rows", min=1)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of torchvision, which nobody needs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: rows}, {0: rows}),
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"torch cannot export it ({why})") from error
    finally:
        logger.setLevel(level)
    assert program is not None
    return g.embed(program.model_proto, [x_num, x_cat])
