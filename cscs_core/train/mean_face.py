"""Makes `cscs_core/lite/mean_face.safetensors` from the training people: mean face, triangles and mirror table.

python -m cscs_core.train.mean_face --data $CSCS_DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay
from torch import Tensor

from ..hub import weights
from ..ops import geometry
from ..ops.mesh import LIPS, MOUTH, OVAL, POINTS
from .people import load_people


def unrolled(mesh: Tensor, mean: Tensor) -> Tensor:
    """The mean face unrolled from ear to ear, (N, 468, 2) upright faces and their mean (468, 2) -> (468, 2).

    From the front, the outermost points of the cheeks almost coincide. When a head turns, a point moves sideways in
    proportion to its depth, so the depth is the regression of position on turn; a cylinder then converts position and
    depth to an angle.
    """
    turn = mesh[:, 4, 0] - (mesh[:, 234, 0] + mesh[:, 454, 0]) / 2
    centred = turn - turn.mean()
    depth = (mesh[..., 0] * centred[:, None]).mean(0) / centred.square().mean()
    depth = depth - (depth[234] + depth[454]) / 2
    depth = depth / depth[4]  # 0 at the sides of the face, 1 at the nose tip: about one outer-eye distance
    return torch.stack([torch.atan2(mean[:, 0], depth + 0.25), mean[:, 1]], -1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    mesh = load_people(arguments.parse_args().data, "train").mesh
    corners = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    mean = geometry.transform(mesh, geometry.similarity(mesh[:, [33, 263]], corners)).mean(0)
    for _ in range(3):  # generalised Procrustes: align all to the mean, average, repeat
        mean = geometry.transform(mesh, geometry.similarity(mesh, mean[None])).mean(0)
    mean = geometry.transform(mean[None], geometry.similarity(mean[None, [33, 263]], corners))[0]
    flipped = mean * torch.tensor([-1.0, 1.0])
    # Some points almost coincide; points of a ring must be mirrored to points of the same ring.
    rings = torch.stack([torch.isin(torch.arange(POINTS), torch.tensor(ring)) for ring in (LIPS, MOUTH, OVAL)], -1)
    apart = torch.cdist(mean, flipped) + torch.cdist(rings.float(), rings.float(), 1)
    mirror = torch.from_numpy(linear_sum_assignment(apart.numpy())[1]).long()
    if not torch.equal(mirror[mirror], torch.arange(len(mirror))):
        raise ValueError("the mirror table is not an involution: the mean face is not symmetric enough")
    mean = (mean + flipped[mirror]) / 2
    upright = geometry.transform(mesh, geometry.similarity(mesh, mean[None]))
    flat = unrolled(torch.cat([upright, (upright * torch.tensor([-1.0, 1.0]))[:, mirror]]), mean)
    triangles = torch.from_numpy(Delaunay(flat.numpy()).simplices).long()
    rim = torch.isin(triangles, torch.tensor(OVAL)).all(-1)  # slivers outside the outline, in its concave parts
    tables = {"mean": mean, "mirror": mirror, "triangles": triangles[~rim]}
    weights.write(Path(__file__).parents[1] / "lite" / "mean_face.safetensors", tables, {"arch": "mean_face"})


if __name__ == "__main__":
    main()
