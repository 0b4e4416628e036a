"""A checkpoint of the shape of Stable Diffusion 1, as small as ComfyUI accepts, trained by nobody: it draws one colour.

PYTHONPATH=<ComfyUI> python fake_checkpoint.py <file>
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def write_checkpoint(path: Path) -> None:
    """One level of a U-Net, the tiny autoencoder, and a whole text encoder of zeros, 0.3 GB."""
    load: Callable[[str], Any] = importlib.import_module
    operations = load("comfy.ops").disable_weight_init
    unet = load("comfy.ldm.modules.diffusionmodules.openaimodel").UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        num_res_blocks=[1],
        channel_mult=[1],
        transformer_depth=[1],
        transformer_depth_output=[1, 1],
        transformer_depth_middle=1,
        context_dim=768,
        num_heads=8,
        use_spatial_transformer=True,
        legacy=False,
        dtype=torch.float16,
        device="meta",
        operations=operations,
    )
    autoencoder = load("comfy.taesd.taesd").TAESD()
    text = load("comfy.sd1_clip").SDClipModel(device="meta", dtype=torch.float16)
    shapes = {f"model.diffusion_model.{name}": value.shape for name, value in unet.state_dict().items()}
    shapes |= {f"cond_stage_model.{name}": value.shape for name, value in text.state_dict().items()}
    tensors = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
    tensors |= {f"first_stage_model.{name}": value.half() for name, value in autoencoder.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def main(path: str) -> None:
    sys.argv[1:] = ["--cpu"]  # read by the host's modules when they are loaded
    importlib.import_module("comfy.options").enable_args_parsing()
    write_checkpoint(Path(path))


if __name__ == "__main__":
    main(sys.argv[1])
