"""Memory that a worker process takes by looking at every row of a dataset, for a million rows.

    python benchmarks/loader_memory.py --rows 300000

All rows point to one drawn crop, whose bytes are read and not decoded. The worker is a fork: its own memory
is what it writes to, which includes the reference counts of Python objects that it only looks at.
"""

import argparse
import gc
import io
import os
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from maeface import files
from maeface.data.loading.dataset import FaceDataset
from maeface.data.shards import ShardWriter


def private_mb() -> float:
    """Return the memory that this process shares with no other, MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def rows_of_one_crop(folder: Path, count: int) -> pd.DataFrame:
    """Write a shard with one crop; return the rows of a manifest in which every face is this crop."""
    (folder / "shards").mkdir()
    path, crop = folder / "shards" / "00000.tar", io.BytesIO()
    Image.new("RGB", (64, 64)).save(crop, "JPEG")
    with ShardWriter(path, "00000") as writer:
        offset, size = writer.add(crop.getvalue())
    entry = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": 1}
    files.write_json(folder / "shards.json", {path.name: entry})
    sources = [f"casia/{number // 50:07d}/{number % 50:03d}.jpg" for number in range(count)]
    constant = {"folder": 0, "shard": path.name, "offset": offset, "size": size}
    return pd.DataFrame({"id": [f"{one}#0.0" for one in sources], "source": sources, **constant})


def look_at_all(data: FaceDataset) -> None:
    """Read the id and the bytes of every crop, as a batch does."""
    for index in range(len(data)):
        data.draw([(index, 0)])
        data._read(index)


def main() -> None:
    """Fork a worker and print how much its own memory grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    count = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of_one_crop(Path(folder), count)
        data = FaceDataset([Path(folder)], rows, 64, seed=0, training=False)
        data.check()
        del rows
        gc.collect()
        if (worker := os.fork()) == 0:
            before = private_mb()
            look_at_all(data)
            print(
                f"{(private_mb() - before) / count * 1e6:.0f} MB for a million rows ({count} were read)",
                flush=True,
            )
            os._exit(0)
        os.waitpid(worker, 0)


if __name__ == "__main__":
    main()
