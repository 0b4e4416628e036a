"""Trains the bundled face detector on composited scenes.

python -m cscs_core.train.detector --data $CSCS_DATA --run runs/detector --minutes 50
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor, nn

from ..hub import weights
from ..models import FaceDetector
from ..models.detector import STRIDES
from ..ops.boxes import generalised_iou, iou
from . import scenes
from .loop import Schedule, fit
from .people import load_people, load_pictures

_RANGE = {8: (0.0, 44.0), 16: (36.0, 100.0), 32: (84.0, 1e6)}  # px, face sizes assigned to each stride


def assign(places: Tensor, scene: scenes.Scenes, n: int) -> tuple[Tensor, Tensor]:
    """Assigns faces to the A anchor points of n images: (n, A) int64 face row or -1, and (n, A) bool, false where the
    score is ignored in the loss. An anchor point is assigned to a face of its stride's size whose centre is within 1.5
    strides."""
    owner = torch.full((n, len(places)), -1)
    count = torch.ones(n, len(places), dtype=torch.bool)
    size = (scene.box[:, 2:] - scene.box[:, :2]).prod(-1).sqrt()
    low = torch.tensor([_RANGE[s][0] for s in STRIDES])[(places[:, 2].log2() - 3).long()]
    high = torch.tensor([_RANGE[s][1] for s in STRIDES])[(places[:, 2].log2() - 3).long()]
    for row in size.argsort(descending=True).tolist():  # smaller faces override larger ones
        frame, box = int(scene.frame[row]), scene.box[row]
        inside = ((places[:, :2] > box[:2]) & (places[:, :2] < box[2:])).all(-1)
        if not scene.clear[row]:
            count[frame] &= ~inside
            continue
        near = ((places[:, :2] - (box[:2] + box[2:]) / 2).abs().amax(-1) < 1.5 * places[:, 2]) & inside
        mine = near & (size[row] >= low) & (size[row] <= high)
        owner[frame, mine] = row
        count[frame, mine] = True
    return owner, count


def losses(network: nn.Module, scene: scenes.Scenes) -> dict[str, Tensor]:
    """Named loss terms: quality focal loss on scores (Li et al. 2020), generalised IoU on boxes (Rezatofighi et al.
    2019), mean distance of the five points relative to the face's size."""
    with torch.autocast("cpu", torch.bfloat16):
        scores, boxes, points, places = network(scene.pixels.contiguous(memory_format=torch.channels_last))
    owner, count = assign(places, scene, len(scores))
    mine = owner >= 0
    rows = owner[mine]
    target = torch.zeros_like(scores)
    found, truth = boxes[mine], scene.box[rows]
    target[mine] = iou(found.detach(), truth).clamp(0.05, 1)
    focus = (scores.sigmoid() - target).detach().square()
    score = nnf.binary_cross_entropy_with_logits(scores, target, reduction="none") * focus * count
    many = max(1, int(mine.sum()))
    side = (truth[:, 2:] - truth[:, :2]).prod(-1).sqrt()
    apart = (points[mine] - scene.points[rows]).norm(dim=-1).mean(-1) / side
    return {
        "score": 4 * score.sum() / many,
        "box": 2 * (1 - generalised_iou(found, truth)).sum() / many,
        "points": 3 * apart.sum() / many,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/detector"))
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    files = sorted((arguments.data / "negatives").glob("*.jpg"))
    people, held_out = load_people(arguments.data, "train"), load_people(arguments.data, "validation")
    empty = load_pictures([file for row, file in enumerate(files) if row % 10 > 1], scenes.SIDE)
    empty_held_out = load_pictures(files[1::10], scenes.SIDE)
    test = scenes.make(held_out, empty_held_out, 150, Generator().manual_seed(1), damage=0.3)
    quiet = empty_held_out.float() / 255

    def loss(network: nn.Module, generator: Generator) -> dict[str, Tensor]:
        return losses(network, scenes.make(people, empty, arguments.batch, generator))

    def validate(network: nn.Module) -> dict[str, float]:
        size = (test.box[:, 2:] - test.box[:, :2]).prod(-1).sqrt()
        hit = torch.zeros(len(size), dtype=torch.bool)
        with torch.inference_mode():
            for frame in range(len(test.pixels)):
                scores, boxes, _, _ = network(test.pixels[frame : frame + 1])
                rows = (test.frame == frame).nonzero().flatten()
                sure = boxes[0, scores[0].sigmoid() > 0.5]
                if len(rows) and len(sure):
                    hit[rows] = iou(test.box[rows][:, None], sure[None]).amax(1) > 0.5
            false = [int((network(picture[None])[0].sigmoid() > 0.5).any()) for picture in quiet]
        large, small = test.clear & (size >= 48), test.clear & (size < 48)
        return {
            "recall": float(hit[large].float().mean()),
            "recall_small": float(hit[small].float().mean()),
            "false_per_100": 100 * sum(false) / len(false),
        }

    model = fit(FaceDetector(), loss, Schedule(arguments.minutes), arguments.run, validate)
    weights.save_model(weights.LITE / "detector.safetensors", model, licence="research, non-commercial: MODEL_CARD.md")


if __name__ == "__main__":
    main()
