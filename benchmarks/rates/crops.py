"""A prepared folder of any size, made of the packaged sample."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from maeface import files
from maeface.data import manifest
from maeface.data.shards import Shards, ShardWriter

SAMPLE = Path(__file__).parents[2] / "src" / "maeface" / "sample"


def enlarge(folder: Path, count: int, side: int) -> Path:
    """Write ``count`` crops of ``side`` px with their labels; faces of the sample, again and again.

    Returns:
        The folder, which holds ``labels.parquet`` too.
    """
    rows, shards = manifest.load(SAMPLE), Shards(SAMPLE)
    crops = []
    for _, row in rows.iloc[:count].iterrows():
        image = Image.open(io.BytesIO(shards.read(row))).resize((side, side), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        crops.append(file.getvalue())
    path = folder / "shards" / "00000.tar"
    path.parent.mkdir(parents=True)
    with ShardWriter(path, "00000") as writer:
        ranges = [writer.add(crops[k % len(crops)]) for k in range(count)]
    entry = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": count}
    files.write_json(folder / "shards.json", {path.name: entry})
    names = [f"{k:06d}.jpg" for k in range(count)]
    values: dict[str, list[object]] = {name: [None] * count for name in manifest.COLUMNS}
    values["id"], values["source"] = [f"{name}#0.0" for name in names], list(names)
    values["shard"], values["status"] = [path.name] * count, ["ok"] * count
    values["offset"], values["size"] = map(list, zip(*ranges, strict=True))
    manifest.write(folder / manifest.FILE, [pa.table(values, schema=manifest.SCHEMA)])
    known = np.random.default_rng(0).integers(0, 2, (count, 3))
    labels = {f"AU{au:02d}_o": known[:, k] for k, au in enumerate((4, 6, 12))}
    subjects = [f"S{k % 40}" for k in range(count)]
    pq.write_table(pa.table({"source": names, "subject": subjects, **labels}), folder / "labels.parquet")
    return folder
