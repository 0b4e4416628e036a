"""ID adapter of CSCS: a trainable copy of the frozen identity encoder (implicit adaptation)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .iresnet import IResNet, IResNetConfig

KINDS = ("add", "concat", "replace")


@dataclass(frozen=True)
class IdAdapterConfig:
    kind: str = "add"  # how its embedding is combined with the encoder's, see faces.swappers.cscs.join_embeddings
    depth: int = 100
    embedding: int = 512

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"no ID adapter of kind {self.kind!r}; choose one of {', '.join(KINDS)}")


class IdAdapter(IResNet):
    """Aligned faces (N, 3, 112, 112) in [-1, 1] -> embeddings (N, 512), not normalised.

    The kind `add` ends in a zero-initialised 1 x 1 convolution, so that training starts from the encoder alone.
    """

    def __init__(self, config: IdAdapterConfig = IdAdapterConfig()):
        super().__init__(IResNetConfig(config.depth, config.embedding))
        self.config = config
        if config.kind == "add":
            self.adapter_block = nn.Conv1d(config.embedding, config.embedding, 1)
            nn.init.zeros_(self.adapter_block.weight)
            nn.init.zeros_(self.adapter_block.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, faces: Tensor) -> Tensor:
        vector = super().forward(faces)
        return self.adapter_block(vector[..., None])[..., 0] if self.config.kind == "add" else vector
