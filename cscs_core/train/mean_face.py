"""Makes `cscs_core/lite/mean_face.safetensors`: mean face, triangles and mirror table, from the training people.

python -m cscs_core.train.mean_face --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from .. import geometry, weights
from .people import load_people


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    mesh = load_people(arguments.parse_args().data, "train").mesh
    corners = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    mean = geometry.transform(mesh, geometry.similarity(mesh[:, [33, 263]], corners)).mean(0)
    for _ in range(3):  # generalised Procrustes: align all to the mean, average, again
        mean = geometry.transform(mesh, geometry.similarity(mesh, mean[None])).mean(0)
    mean = geometry.transform(mean[None], geometry.similarity(mean[None, [33, 263]], corners))[0]
    flipped = mean * torch.tensor([-1.0, 1.0])
    mirror = torch.from_numpy(linear_sum_assignment(torch.cdist(mean, flipped).numpy())[1]).long()
    if not torch.equal(mirror[mirror], torch.arange(len(mirror))):
        raise ValueError("the mirror table is no involution: the mean face is not symmetric enough")
    mean = (mean + flipped[mirror]) / 2
    tables = {"mean": mean, "mirror": mirror, "triangles": torch.from_numpy(Delaunay(mean.numpy()).simplices).long()}
    weights.write(Path(__file__).parents[1] / "lite" / "mean_face.safetensors", tables, {"arch": "mean_face"})


if __name__ == "__main__":
    main()
