"""Train the embedded face detector: ``python -m maeface.distillation SOURCE... --out FILE``."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

import torch

from maeface import console
from maeface.distillation.training import Settings, train
from maeface.errors import ConfigError, MaefaceError

NAME = re.compile(r"[\w.-]+\.\w+")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m maeface.distillation", description=__doc__)
    parser.add_argument(
        "sources", type=Path, nargs="+", help="photographs, videos, folders, tar files of JPEGs"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        help="a text, CSV or JSON file that names the files not to learn from",
    )
    parser.add_argument("--teacher", type=Path, help="its weights; the public ones if not given")
    parser.add_argument(
        "--keep", type=Path, help="an earlier file: find faces as it does, learn only to place their points"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=_positive, help="of learning to find faces; both of its parts shrink alike"
    )
    parser.add_argument("--place-steps", type=_positive, help="of learning to place their points")
    arguments = parser.parse_args()
    if arguments.keep and arguments.steps:
        parser.error("--steps is of learning to find faces, which --keep leaves out")
    torch.set_num_threads(1)  # so that the result does not depend on the machine's cores
    try:
        names = {name for path in arguments.exclude for name in NAME.findall(_read(path))}
        settings = Settings(exclude=tuple(sorted(names)))
        if arguments.steps:
            settings = replace(settings, finding=settings.finding.shortened(arguments.steps))
        if arguments.place_steps:
            settings = replace(settings, placing=replace(settings.placing, steps=arguments.place_steps))
        out = train(
            arguments.sources, arguments.out, settings, arguments.seed, arguments.teacher, arguments.keep
        )
        console.show(str(out))
    except MaefaceError as error:
        console.say(f"maeface: {error}")
        sys.exit(error.exit_code)


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the names in {path}: {error}") from error


if __name__ == "__main__":
    main()
