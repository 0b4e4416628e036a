"""`cscs convert`: converts pickles and ONNX files to safetensors."""

from __future__ import annotations

import argparse

import torch

from ..hub.convert import convert
from ..hub.store import default_store
from ..io.console import complain, say, tracked
from ..io.files import BadInput


def run(options: argparse.Namespace) -> int:
    """Converts each file; a file that fails is reported and the others are still converted."""
    dtype = torch.float16 if options.half else torch.float32
    keep, done = [*options.files], 0
    for path in tracked(options.files, "convert"):
        try:
            made = convert(path, options.out or default_store().home, options.adapter, dtype, options.licence, keep)
        except BadInput as error:
            complain(str(error))
            continue
        for target, what in made.items():
            say(f"{target}: {what}")
        keep += made
        done += 1
    return 0 if done == len(options.files) else 2
