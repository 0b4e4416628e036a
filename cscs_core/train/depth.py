"""Makes `cscs_core/lite/depth.safetensors`: the depth of each point of the mean face, from the training people.

    python -m cscs_core.train.depth --data $CSCS_DATA

Structure from motion (weak perspective, rank 3) with one unknown per point. Every mesh is treated as the same head,
rotated. Given the depth, each head's pose follows by orthogonal Procrustes; given the poses, the depth follows by least
squares; both steps alternate. Meshes that fit badly (expressions, other proportions) get a smaller weight. The scale of
the depth, which converges last, follows from both image axes having the same scale; adding the mirror image of every
mesh makes the result symmetric.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Tensor

from ..hub import weights
from ..ops import head_pose, mesh
from .people import load_people

log = logging.getLogger(__name__)


def estimate(meshes: Tensor, rounds: int = 160) -> Tensor:
    """Depth of the mean face's points from meshes (N, 468, 2) -> (468,) outer-eye distances, positive towards the
    viewer, mean 0."""
    mean, mirror = mesh.mean_face().double(), mesh.mirror()
    mean = mean - mean.mean(0)
    seen = meshes.double()
    seen = torch.cat([seen, (seen * seen.new_tensor([-1.0, 1.0]))[:, mirror]])
    seen = seen - seen.mean(1, keepdim=True)
    seen = seen / seen.square().sum((1, 2), keepdim=True).sqrt()
    depth = torch.exp(-(mean[:, 0] / 0.5).square())  # start from a vault
    rotations = head_pose.fit(seen, torch.cat([mean, depth[:, None]], -1)).rotation
    for _ in range(rounds):
        shape = torch.cat([mean, (depth - depth.mean())[:, None]], -1)
        for _ in range(2):
            projected = shape @ rotations.mT
            # The third axis is not observed: keep its current estimate.
            solid = torch.cat([seen, projected[..., 2:] * _scale(projected, seen)], -1)
            left, _, right = torch.linalg.svd(solid.mT @ shape)
            sign = torch.ones_like(left[..., 0]).index_copy(1, torch.tensor([2]), torch.det(left @ right)[:, None])
            rotations = (left * sign[:, None]) @ right
        axes = rotations[:, :2] * _scale(shape @ rotations.mT, seen)
        apart = seen - mean @ axes[..., :2].mT
        error = (apart - shape[:, 2:] * axes[:, None, :, 2]).square().sum((1, 2))
        trust = 1 / (error + error.median())
        along = trust[:, None] * axes[..., 2]
        depth = torch.einsum("npk,nk->p", apart, along) / (along * axes[..., 2]).sum()
        depth = (depth + depth[mirror]) / 2
    return (depth - depth.mean()).float()


def _scale(projected: Tensor, seen: Tensor) -> Tensor:
    """The scale at which the rotated shapes (N, 468, 3) fit the meshes (N, 468, 2) best, (N, 1, 1)."""
    flat = projected[..., :2]
    return ((flat * seen).sum((1, 2)) / flat.square().sum((1, 2)))[:, None, None]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    people = load_people(arguments.parse_args().data, "train", ("omi", "fake"))  # in the others all heads are frontal
    depth = estimate(people.mesh)
    side, tip, eye = depth[234], depth[4], depth[33]
    log.info("depth of the nose tip over the sides %.2f, over the outer eye corners %.2f", tip - side, tip - eye)
    weights.write(Path(__file__).parents[1] / "lite" / "depth.safetensors", {"depth": depth}, {"arch": "depth"})


if __name__ == "__main__":
    main()
