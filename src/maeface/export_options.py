"""Options of ``maeface export`` alone."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from maeface.options import OUTPUT

CHECK = "Check"
"""A group of options in the help."""

Weights = Annotated[
    str | None,
    typer.Argument(
        metavar="WEIGHTS",
        help="Weights that 'maeface finetune' wrote, or the name of weights that come with maeface. "
        "Default: maeface-nano-96.",
    ),
]
To = Annotated[
    Literal["onnx", "openvino", "torch", "hub"],
    typer.Option(
        "--to",
        help="ONNX files, files of OpenVINO, of torch.export, or a folder for a model hub.",
        rich_help_panel=OUTPUT,
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", help="Folder for the files; it must be new or empty.", rich_help_panel=OUTPUT),
]
Precision = Annotated[
    Literal["fp32", "bf16", "fp16", "int8"],
    typer.Option(
        "--precision",
        help="Number format of the AU network: fewer bits are smaller and less exact.",
        rich_help_panel=OUTPUT,
    ),
]
WithPreprocessing = Annotated[
    bool,
    typer.Option(
        "--with-preprocessing",
        help="Put resizing and normalising into the AU network: it then takes face crops of any size, with "
        "pixels from 0 to 255 (uint8).",
        rich_help_panel=OUTPUT,
    ),
]
Photos = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="FOLDER",
        help="Faces to check on: photos, or a folder that 'maeface prepare' wrote. Default: rendered faces "
        "that come with maeface.",
        rich_help_panel=CHECK,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Table of AU labels of the photos, CSV or Parquet. With it, the check says how much worse the "
        "files tell faces with an AU from faces without it (change of the AUC).",
        rich_help_panel=CHECK,
    ),
]
MaxDifference = Annotated[
    float | None,
    typer.Option(
        "--max-difference",
        min=0,
        help="Fail if a value differs by more than this from PyTorch's, as a fraction of its range: 0.01 is "
        "0.01 of a probability and 0.05 of an intensity. Default: 0.001 for fp32, 0.01 for fp16, 0.05 for "
        "bf16, any for int8.",
        rich_help_panel=CHECK,
    ),
]
MaxFall = Annotated[
    float,
    typer.Option(
        "--max-fall",
        min=0,
        help="Fail if the AUC of an AU falls by more than this. Without labels, and for intensities and "
        "'unlike': if the correlation with PyTorch's values is below 1 by more than this.",
        rich_help_panel=CHECK,
    ),
]
