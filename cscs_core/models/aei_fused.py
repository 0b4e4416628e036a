"""AEI-Net for inference: the same function as `AEINet` with less work per image.

Batch norms are folded into the convolutions before them and the two 1 x 1 convolutions of an AAD layer are merged. The
input that a block shares with its shortcut is normalised once. Whatever depends only on the identity is computed once
per identity, by `prepare`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .aei import DOWN, UP, WIDTHS, AADBlock, AADLayer, AEINet, AttributeEncoder, Deconvolution, double


@dataclass(frozen=True)
class AEIIdentity:
    """N identities as the generator needs them; a single one (N = 1) broadcasts over any number of images."""

    start: Tensor  # (N, 1024, 2, 2) input of the first block
    normal: Tensor  # (N, 1024, 2, 2) the same, instance-normalised
    mask: Tensor  # (N, 1, 2, 2) M of the first layer
    styles: tuple[tuple[Tensor, ...], ...]  # per block and layer: gamma and beta, (N, 2 C, 1, 1)


class FusedAEINet(nn.Module):
    """Target images (N, 3, 256, 256) in [-1, 1] and prepared identities -> swapped images like the targets."""

    def __init__(self, net: AEINet):
        super().__init__()
        self.config = net.config
        self.encoder = FusedEncoder(net.encoder)
        blocks = [cast(AADBlock, net.generator.get_submodule(f"AADBlk{k}")) for k in range(1, len(WIDTHS))]
        self.blocks = nn.ModuleList(FusedBlock(block) for block in blocks)
        self.up1 = net.generator.up1
        layers = [layer for block in blocks for layer in _layers(block)]
        self.style = nn.Linear(net.config.identity, sum(2 * layer.fc1.out_features for layer in layers))
        self.style.weight.data = torch.cat([fc.weight for layer in layers for fc in (layer.fc1, layer.fc2)])
        self.style.bias.data = torch.cat([fc.bias for layer in layers for fc in (layer.fc1, layer.fc2)])
        self.eval().requires_grad_(False)

    def prepare(self, z: Tensor) -> AEIIdentity:
        """Embeddings (N, Z) -> everything that depends only on them."""
        start = self.up1(z[..., None, None])
        normal = nnf.instance_norm(start)
        first = cast(FusedBlock, self.blocks[0]).layers[0]
        widths = [cast(FusedLayer, layer).width for block in self.blocks for layer in cast(FusedBlock, block).layers]
        parts = iter(self.style(z)[..., None, None].split([2 * width for width in widths], 1))
        styles = tuple(tuple(next(parts) for _ in cast(FusedBlock, block).layers) for block in self.blocks)
        return AEIIdentity(start, normal, cast(FusedLayer, first).mask(normal), styles)

    def forward(self, target: Tensor, identity: AEIIdentity, masks: list[list[Tensor]] | None = None) -> Tensor:
        """`masks` as in AEINet.forward."""
        h = identity.start
        for index, (attributes, block) in enumerate(zip(self.encoder(target), self.blocks, strict=True)):
            normal, mask = (nnf.instance_norm(h := double(h)), None) if index else (identity.normal, identity.mask)
            seen: list[Tensor] = []
            h = block(h, normal, mask, attributes, identity.styles[index], seen)
            if masks is not None:
                masks.append(seen)
        return h.tanh_()


class FusedEncoder(nn.Module):
    """AttributeEncoder with folded batch norms."""

    def __init__(self, encoder: AttributeEncoder):
        super().__init__()
        downs = [cast(nn.Sequential, encoder.get_submodule(f"conv{k}")) for k in range(1, len(DOWN) + 1)]
        ups = [cast(Deconvolution, encoder.get_submodule(f"deconv{k}")) for k in range(1, len(UP) + 1)]
        self.down = nn.ModuleList(
            fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, bn)) for conv, bn in downs
        )
        self.up = nn.ModuleList(fuse_conv_bn_eval(up.deconv, up.bn, transpose=True) for up in ups)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = [pictures]
        for conv in self.down:
            features.append(nnf.leaky_relu_(_convolve(cast(nn.Conv2d, conv), features[-1]), 0.1))
        maps = [features.pop()]
        for deconv in self.up:
            raised = nnf.leaky_relu_(_deconvolve(cast(nn.ConvTranspose2d, deconv), maps[-1]), 0.1)
            maps.append(torch.cat([raised, features.pop()], 1))
        return [*maps, double(maps[-1])]


class FusedBlock(nn.Module):
    """AADBlock whose input is normalised by the caller, once for the block and its shortcut."""

    def __init__(self, block: AADBlock):
        super().__init__()
        self.layers = nn.ModuleList(FusedLayer(layer) for layer in _layers(block))
        convolutions = [block.conv1, block.conv2, *([block.conv3] if block.shortcut else [])]
        self.convolutions = nn.ModuleList(convolutions)

    def forward(
        self,
        x: Tensor,
        normal: Tensor,
        mask: Tensor | None,
        attributes: Tensor,
        styles: tuple[Tensor, ...],
        masks: list[Tensor],
    ) -> Tensor:
        first, second, *rest = self.layers
        convolutions = [cast(nn.Conv2d, conv) for conv in self.convolutions]
        h = _convolve(convolutions[0], first(normal, attributes, styles[0], masks, mask))
        h = _convolve(convolutions[1], second(nnf.instance_norm(h), attributes, styles[1], masks))
        if rest:
            x = _convolve(convolutions[2], rest[0](normal, attributes, styles[2], masks))
        return x + h


class FusedLayer(nn.Module):
    """AADLayer and the ReLU after it."""

    def __init__(self, layer: AADLayer):
        super().__init__()
        self.width = layer.fc1.out_features
        self.attributes = nn.Conv2d(layer.conv1.in_channels, 2 * self.width, 1)
        self.attributes.weight.data = torch.cat([layer.conv1.weight, layer.conv2.weight])
        self.attributes.bias = nn.Parameter(torch.cat([cast(Tensor, conv.bias) for conv in (layer.conv1, layer.conv2)]))
        self.conv_h = layer.conv_h

    def mask(self, normal: Tensor) -> Tensor:
        """M for a normalised input, (N, C, h, w) -> (N, 1, h, w) 0..1."""
        # A matrix product: on a CPU a convolution to one channel takes ten times as long.
        weight, bias = self.conv_h.weight.flatten(1), cast(Tensor, self.conv_h.bias)
        return (weight @ normal.flatten(2) + bias).sigmoid_().unflatten(2, normal.shape[2:])

    def forward(
        self, normal: Tensor, attributes: Tensor, style: Tensor, masks: list[Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """AAD, then ReLU. Both parts are gamma * h + beta, so M blends gamma and beta before they are applied to h."""
        m = self.mask(normal) if mask is None else mask
        masks.append(m)
        gamma, beta = self.attributes(attributes).lerp(style, m).chunk(2, 1)
        return torch.addcmul(beta, gamma, normal).relu_()


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution; for small maps on a CPU, where each call would reorder the weights, a matrix product."""
    if not _is_small_on_cpu(x):
        return conv(x)
    size = (x.shape[-2] // conv.stride[0], x.shape[-1] // conv.stride[1])  # kernel and padding leave it at that
    columns = nnf.unfold(x, cast(tuple, conv.kernel_size), 1, cast(tuple, conv.padding), cast(tuple, conv.stride))
    # Columns first: with the weights first, the sums over so few columns are several times less exact.
    return nnf.linear(columns.mT, conv.weight.flatten(1), conv.bias).mT.unflatten(2, size)


def _deconvolve(deconv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """The transposed convolution, likewise as a matrix product for small maps on a CPU."""
    if not _is_small_on_cpu(x):
        return deconv(x)
    columns = (x.flatten(2).mT @ deconv.weight.flatten(1)).mT
    out = nnf.fold(columns, (2 * x.shape[-2], 2 * x.shape[-1]), 4, 1, 1, 2)
    return out + cast(Tensor, deconv.bias)[:, None, None]


def _is_small_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.shape[0] * x.shape[-2] * x.shape[-1] <= 256 and x.shape[1] >= 512


def _layers(block: AADBlock) -> list[AADLayer]:
    return [block.AAD1, block.AAD2, *([block.AAD3] if block.shortcut else [])]
