from __future__ import annotations

import torch
from torch import nn


class ModelPatcher:
    def __init__(
        self,
        model: nn.Module,
        load_device: torch.device,
        offload_device: torch.device,
        size: int = 0,
        weight_inplace_update: bool = False,
    ):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device


class CoreModelPatcher(ModelPatcher):
    pass
