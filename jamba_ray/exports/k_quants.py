"""Packs weights into the blocks of GGUF: Q4_K, Q5_K and Q8_0.

A K-quant stores 256 values as eight parts of 32. Each part has a scale and a least value, of six
bits each, which two float16 numbers of the block multiply; a value is then a number of 4 or 5 bits.
The scales are searched as ggml's own quantiser does (``quantize_row_q4_K_ref``), in float32.

Letters: B blocks, P = 8 parts of a block, V = 32 values of a part.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Kind: TypeAlias = Literal["Q4_K", "Q5_K", "Q8_0"]
Values: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]

BLOCK = 256
_PARTS, _VALUES = 8, 32
_MOST_SCALE = 63
_SEARCH = {"Q4_K": (15, -1.0, 20), "Q5_K": (31, -0.5, 15)}
"""Kind -> (largest number, where the search for a scale begins, steps of 0.1 from there)."""


def quantised(values: Values, kind: Kind) -> Bytes:
    """Returns the blocks [B, bytes] of values whose number is a multiple of ``BLOCK``."""
    if kind == "Q8_0":
        return _q8_0(values.reshape(-1, _VALUES))
    parts = values.reshape(-1, _PARTS, _VALUES).astype(np.float32)
    most, begin, steps = _SEARCH[kind]
    scale, low = _searched(parts, most, begin, steps)
    d, d_low = _most(scale), _most(low)
    scales, lows = _six_bits(scale, d), _six_bits(low, d_low)
    d16 = (d / _MOST_SCALE).astype(np.float16)
    low16 = (d_low / _MOST_SCALE).astype(np.float16)
    step = d16.astype(np.float32)[:, None] * scales
    shift = low16.astype(np.float32)[:, None] * lows
    moved = parts + shift[:, :, None]
    numbers = np.divide(
        moved, step[:, :, None], out=np.zeros_like(parts), where=step[:, :, None] > 0
    )
    q = np.clip(np.rint(numbers), 0, most).astype(np.uint8)
    head = [d16[:, None].view(np.uint8), low16[:, None].view(np.uint8), _packed(scales, lows)]
    return np.concatenate([*head, *_numbers(q, kind)], axis=1)


def _searched(parts: Values, most: int, begin: float, steps: int) -> tuple[Values, Values]:
    """Returns scale and minus the least value of each part [B, P], with least weighted error."""
    weight = np.sqrt((parts**2).mean(axis=2, keepdims=True)) + np.abs(parts)
    low, high = np.minimum(parts.min(axis=2), 0), parts.max(axis=2)
    spread = high - low
    is_flat = spread <= 0
    safe = np.where(is_flat, np.float32(1), spread)
    scale = (safe / np.float32(most)).astype(np.float32)
    first = (1 / scale).astype(np.float32)
    best = _error(parts, weight, scale, low, _rounded(parts, low, first, most))
    best_low = low.copy()
    total, of_x = weight.sum(axis=2), (weight * parts).sum(axis=2)
    for i in range(steps + 1):
        inverse = (np.float32(begin + 0.1 * i + most) / safe).astype(np.float32)
        q = _rounded(parts, low, inverse, most)
        of_q, of_q2 = (weight * q).sum(axis=2), (weight * q * q).sum(axis=2)
        of_qx = (weight * q * parts).sum(axis=2)
        determinant = total * of_q2 - of_q * of_q
        found = determinant > 0
        divisor = np.where(found, determinant, np.float32(1))
        tried = (total * of_qx - of_x * of_q) / divisor
        tried_low = (of_q2 * of_x - of_q * of_qx) / divisor
        above = tried_low > 0
        tried = np.where(above, of_qx / np.where(of_q2 > 0, of_q2, np.float32(1)), tried)
        tried_low = np.where(above, np.float32(0), tried_low)
        error = _error(parts, weight, tried, tried_low, q)
        better = found & (error < best)
        best = np.where(better, error, best)
        scale, best_low = np.where(better, tried, scale), np.where(better, tried_low, best_low)
    scale = np.where(is_flat, np.float32(0), np.maximum(scale, 0))
    return scale.astype(np.float32), (-best_low).astype(np.float32)


def _rounded(parts: Values, low: Values, inverse: Values, most: int) -> Values:
    return np.clip(np.rint(inverse[:, :, None] * (parts - low[:, :, None])), 0, most).astype(
        np.float32
    )


def _error(parts: Values, weight: Values, scale: Values, low: Values, q: Values) -> Values:
    apart = scale[:, :, None] * q + low[:, :, None] - parts
    found: Values = (weight * apart * apart).sum(axis=2)
    return found


def _most(values: Values) -> Values:
    found: Values = np.maximum(values.max(axis=1), 0)
    return found


def _six_bits(values: Values, most: Values) -> Values:
    """Returns values [B, P] as shares of the block's largest, 0 to 63."""
    inverse = np.where(most > 0, _MOST_SCALE / np.where(most > 0, most, np.float32(1)), 0)
    return np.clip(np.rint(inverse[:, None] * values), 0, _MOST_SCALE).astype(np.float32)


def _packed(scales: Values, lows: Values) -> Bytes:
    """Packs eight scales and eight least values of six bits into 12 bytes [B, 12]."""
    s, m = scales.astype(np.uint8), lows.astype(np.uint8)
    first = s[:, :4] | (s[:, 4:] >> 4 << 6)
    second = m[:, :4] | (m[:, 4:] >> 4 << 6)
    third = (s[:, 4:] & 15) | ((m[:, 4:] & 15) << 4)
    return np.concatenate([first, second, third], axis=1)


def _numbers(q: Bytes, kind: Kind) -> list[Bytes]:
    """Packs the numbers [B, P, V]: two of four bits to a byte, the fifth bits apart."""
    pairs = q.reshape(len(q), _PARTS // 2, 2, _VALUES)
    low, high = pairs[:, :, 0] & 15, pairs[:, :, 1] & 15
    nibbles: Bytes = (low | (high << 4)).reshape(len(q), -1).astype(np.uint8)
    if kind == "Q4_K":
        return [nibbles]
    bits = (q >> 4) << np.arange(_PARTS, dtype=np.uint8)[None, :, None]
    fifth: Bytes = np.bitwise_or.reduce(bits, axis=1).astype(np.uint8)
    return [fifth, nibbles]


def _q8_0(values: Values) -> Bytes:
    """Returns blocks of 32 values: a float16 scale and a byte for each value."""
    d = np.abs(values).max(axis=1) / np.float32(127)
    inverse = np.where(d > 0, 1 / np.where(d > 0, d, np.float32(1)), 0).astype(np.float32)
    scaled = values * inverse[:, None]
    # Halves go away from zero, as C's roundf does.
    q = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int8)
    head = d.astype(np.float16)[:, None].view(np.uint8)
    return np.concatenate([head, q.view(np.uint8)], axis=1)
