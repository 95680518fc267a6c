"""Drawn faces, their labels, and settings small enough for seconds on a CPU."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from PIL import Image, ImageDraw

from maeface import config, files
from maeface.data import manifest
from maeface.data.shards import ShardWriter

OPTIM = {"epochs": 3, "warmup_epochs": 1, "batch": 6, "base_lr": 1e-2, "min_lr": 0.0, "betas": (0.9, 0.95)}
RUN = {"device": "cpu", "workers": 0, "checkpoint_every_s": 1e9}


def face(number, side=32):
    image = Image.new("RGB", (side, side), (number * 10, 90, 255 - number * 10))
    pen = ImageDraw.Draw(image)
    pen.ellipse((side * 0.2, side * 0.1, side * 0.8, side * 0.9), fill=(230, 190, 160))
    pen.ellipse((side * 0.35, side * 0.4, side * 0.4, side * 0.45), fill=(0, 0, 0))
    pen.arc((side * 0.35, side * 0.6, side * 0.65, side * 0.8), 0, 90 + number * 5, fill=(160, 30, 40))
    return image


def faces(folder, count=24, side=32):
    """A folder of drawn crops."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        face(number, side).save(folder / f"{number:02d}.png")
    return folder


def jpeg(image, quality=95):
    """The bytes of a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def prepared(folder, count=24, side=32, quality=95):
    """A prepared folder of drawn crops; returns their JPEGs."""
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    crops = [jpeg(face(number, side), quality) for number in range(count)]
    path = folder / "shards" / "00000.tar"
    with ShardWriter(path, "00000") as writer:
        ranges = [writer.add(crop) for crop in crops]
    entry = {"sha256": files.sha256(path), "bytes": path.stat().st_size, "count": count}
    files.write_json(folder / "shards.json", {path.name: entry})
    values = {name: [None] * count for name in manifest.COLUMNS}
    values["id"] = [f"{number:02d}.png#0.0" for number in range(count)]
    values["source"] = [f"{number:02d}.png" for number in range(count)]
    values["shard"], values["status"] = [path.name] * count, ["ok"] * count
    values["offset"], values["size"] = map(list, zip(*ranges, strict=True))
    manifest.write(folder / manifest.FILE, [pa.table(values, schema=manifest.SCHEMA)])
    return crops


def labels(path, count=24):
    """AU04 and AU12 of both kinds, AU01 of occurrence only; three faces a subject; some unknown."""
    rows = ["source,subject,AU12_o,AU12_i,AU04_o,AU04_i,AU01_o"]
    for n in range(count):
        unknown = "" if n % 4 == 0 else n % 5
        rows.append(f"{n:02d}.png,S{n // 3},{n % 2},{n % 6},{int(n % 3 == 0)},{unknown},{9 if n % 2 else 1}")
    path.write_text("\n".join(rows))
    return path


def pretrain(optim=None, data=None, run=None, model=None, init="random"):
    sizes = {"size": "tiny", "image_size": 16, "patch_size": 8, "decoder_depth": 1, "decoder_width": 32}
    return config.Pretrain.model_validate(
        {
            "init": init,
            "model": sizes | {"decoder_heads": 2} | (model or {}),
            "data": {"validation": 0.2} | (data or {}),
            "optim": OPTIM | (optim or {}),
            "run": RUN | (run or {}),
        }
    )


def finetune(optim=None, data=None, run=None, model=None, patience=5, relative=None):
    sizes = {"size": "tiny", "image_size": 16, "patch_size": 8, "task": "both"}
    return config.Finetune.model_validate(
        {
            "model": sizes | (model or {}),
            "data": data or {},
            "optim": OPTIM | (optim or {}),
            "run": RUN | (run or {}),
            "patience": patience,
            "relative": relative or {},
        }
    )


def run_forks(script, base, plans):
    """Run a script that does each plan in a fork; return what it prints last, and its messages."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script, str(base), json.dumps(plans)],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr
