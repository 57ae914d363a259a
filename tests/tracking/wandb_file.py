"""What an offline ``.wandb`` file holds: LevelDB's log framing around W&B's own records."""

import json
import struct
import zlib
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32768


def records(path: Path):
    """Every record, its checksum verified."""
    data = path.read_bytes()
    assert data[:4] == b":W&B", "not a .wandb file"
    at, parts = 7, []
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        crc, length, kind = struct.unpack("<IHB", data[at : at + 7])
        body = data[at + 7 : at + 7 + length]
        if kind == 0:
            break
        assert crc == zlib.crc32(bytes([kind]) + body), f"damaged at byte {at}"
        parts.append(body)
        if kind in (1, 4):  # whole, or the last of several
            record = Record()
            record.ParseFromString(b"".join(parts))
            yield record
            parts = []
        at += 7 + length


def history(path: Path):
    """Rows as {key: value}."""
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
            row["_step"] = record.history.step.num
            yield row


def run_of(path: Path):
    """The run's own record."""
    return next(r.run for r in records(path) if r.WhichOneof("record_type") == "run")
