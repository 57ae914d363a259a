"""Keeps some judged rows of a run, with their labels and scores, to hold later rows against.

``reference.parquet`` holds features as the model sees them, not the cells of the user's table: what
is watched is what the model is given. The file is data alone; reading it runs no code.

Letters: N rows, F_n numeric features, F_c categorical features.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.config.data import CALIBRATION
from jamba_ray.data.prepared import FeatureSchema, PreparedData
from jamba_ray.errors import DataError

MOST_ROWS, MOST_CELLS = 10_000, 4_000_000
"""What is kept of a run: enough that a window's own rows limit what can be seen."""
MOST_BYTES = 1 << 30
_META = b"jamba_ray.reference"
_NUMBER, _CODE = "n:", "c:"


@dataclass(frozen=True)
class Reference:
    """Holds N rows that the model was judged on and not trained on."""

    schema: FeatureSchema
    x_num: npt.NDArray[np.float32]
    """[N, F_n]."""
    x_cat: npt.NDArray[np.int64]
    """[N, F_c]."""
    label: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float64]
    group: npt.NDArray[np.str_] | None
    place: npt.NDArray[np.float32] | None
    """[N], where in its table each row stands, from 0 to 1, where rows are in an order."""
    part: str
    """The part of the data that they are drawn from."""
    part_rows: int
    """Rows of that part."""
    train_rows: int
    table_rows: int
    """Rows of the table that ``place`` is a place in."""
    missing: Mapping[str, float]
    """Column -> share of missing cells in that part; columns without any are left out."""
    until: str | None
    """The newest time of that part, where rows have times."""

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: npt.NDArray[Any]) -> Reference:
        """Returns the rows at these positions, or where this mask holds."""
        return Reference(
            self.schema,
            self.x_num[rows],
            self.x_cat[rows],
            self.label[rows],
            self.score[rows],
            None if self.group is None else self.group[rows],
            None if self.place is None else self.place[rows],
            self.part,
            self.part_rows,
            self.train_rows,
            self.table_rows,
            self.missing,
            self.until,
        )

    def blocks(self, n: int) -> list[tuple[npt.NDArray[np.int64], int]]:
        """Returns the block [N] of each row and the rows of the table that a block has, for blocks
        of ``n`` neighbours and shorter ones; empty where the order is not known."""
        if self.place is None or len(self) < 100:
            return []
        low, high = float(self.place.min()), float(self.place.max())
        spanned = (high - low) * self.table_rows
        if spanned < 8:
            return []
        place = (self.place - low) / (high - low)
        most = min(1_000, len(self) // 5)
        counts = [int(np.clip(spanned / max(n, 1), 8, most))]
        while 4 * counts[-1] <= most:
            counts.append(4 * counts[-1])
        return [
            (np.minimum((place * k).astype(np.int64), k - 1), max(1, round(spanned / k)))
            for k in counts
        ]

    def to_bytes(self) -> bytes:
        """Returns the file."""
        s = self.schema
        columns: dict[str, Any] = {"label": self.label.astype(np.int8), "score": self.score}
        if self.group is not None:
            columns["group"] = self.group.astype(str)
        if self.place is not None:
            columns["place"] = self.place
        columns |= {f"{_NUMBER}{name}": self.x_num[:, j] for j, name in enumerate(s.numeric)}
        columns |= {f"{_CODE}{name}": self.x_cat[:, j] for j, name in enumerate(s.categorical)}
        meta = {
            "version": 1,
            "schema": s.to_json(),
            "part": self.part,
            "part_rows": self.part_rows,
            "train_rows": self.train_rows,
            "table_rows": self.table_rows,
            "missing": dict(self.missing),
            "until": self.until,
        }
        table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
        table = table.replace_schema_metadata({_META: json.dumps(meta, allow_nan=False).encode()})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> Reference:
        """Reads the file.

        Raises:
            DataError: It is damaged or of another version.
        """
        try:
            table = pq.read_table(io.BytesIO(raw))
            meta = json.loads(table.schema.metadata[_META])
            if meta["version"] != 1:
                raise ValueError(f"version {meta['version']}")
            schema = FeatureSchema.from_json(meta["schema"])

            def cells(prefix: str, names: tuple[str, ...], kind: Any) -> npt.NDArray[Any]:
                found = [table[f"{prefix}{name}"].to_numpy() for name in names]
                empty = np.zeros((table.num_rows, 0))
                return np.ascontiguousarray(np.stack(found, axis=1) if found else empty, dtype=kind)

            found = cls(
                schema,
                cells(_NUMBER, schema.numeric, np.float32),
                cells(_CODE, schema.categorical, np.int64),
                table["label"].to_numpy().astype(bool),
                table["score"].to_numpy().astype(np.float64),
                np.asarray(table["group"].to_pylist(), dtype=np.str_)
                if "group" in table.column_names
                else None,
                table["place"].to_numpy() if "place" in table.column_names else None,
                str(meta["part"]),
                int(meta["part_rows"]),
                int(meta["train_rows"]),
                int(meta["table_rows"]),
                {str(name): float(share) for name, share in meta["missing"].items()},
                meta["until"],
            )
            sound = np.isfinite(found.x_num).all() and np.isfinite(found.score).all()
            if not (sound and found.score.min() >= 0.0 and found.score.max() <= 1.0):
                raise ValueError("a value is not finite, or a score is outside [0, 1]")
        except Exception as error:  # whatever pyarrow makes of a damaged file
            raise DataError(
                f"{where} must be the reference rows that a run kept, but is not "
                f"({' '.join(str(error).split())[:120]}); restore it from a copy of the run, or "
                "train again."
            ) from error
        return found


def reference_of(
    data: PreparedData, scores: Mapping[str, npt.NDArray[np.float64]], seed: int = 0
) -> Reference:
    """Draws reference rows: of those that chose no model where there are any, else validation's.

    ``scores``: part -> the winner's score of each of its rows.
    """
    part = CALIBRATION if CALIBRATION in data.tests else "val"
    rows = data.tests[part] if part == CALIBRATION else data.val
    most = min(MOST_ROWS, max(1_000, MOST_CELLS // max(data.schema.input_dim, 1)))
    at = np.arange(len(rows))
    if len(rows) > most:
        at = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    shares = {
        name: float(of.get(part, 0.0)) for name, of in data.overview.get("missing", {}).items()
    }
    parts = {"train": data.train, "val": data.val, **data.tests}
    cut = {"train", "val", *data.overview.get("split", {}).get("cut", ())}
    return Reference(
        data.schema,
        np.asarray(rows.x_num[at]),
        np.asarray(rows.x_cat[at]),
        rows.y[at] == 1,
        scores[part][at],
        None if rows.group is None else rows.group[at].astype(str),
        None if rows.place is None else np.asarray(rows.place[at], dtype=np.float32),
        part,
        len(rows),
        len(data.train),
        sum(len(one) for name, one in parts.items() if name in cut),
        {name: share for name, share in shares.items() if share > 0.0},
        data.overview.get("parts", {}).get(part, {}).get("to"),
    )
