"""SCRFD, the detector of insightface packs (Guo et al. 2021), as exported to ONNX.

Nine outputs: scores, then boxes, then points, each at strides 8, 16 and 32, with two rows (anchors) per cell. A box is
the four distances of its sides from the cell, a point its offset from the cell, all in strides. Inputs are RGB,
(value - 127.5) / 128 of 0..255, in the upper left corner of a window that is black elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...hub.onnx.runner import Runner
from ...io.files import BadInput
from ...ops.boxes import suppress
from ...ops.geometry import pixel_grid
from .base import Found

_STRIDES = (8, 16, 32)
_COLUMNS = (1, 1, 1, 4, 4, 4, 10, 10, 10)  # of the outputs
_SMALL = 128  # px: window of a second pass, for faces that fill the image
_MOST = 4000  # best proposals of a call that enter non-maximum suppression: memory grows with the square


@dataclass(frozen=True)
class SCRFD:
    """SCRFD on images of any size, scaled to a window of `size` px and to a small one."""

    runner: Runner
    size: int = 640  # a multiple of 32; a network exported for a fixed window uses that one only
    overlap: float = 0.4  # IoU from which two boxes count as the same face

    def __post_init__(self):
        """Raises BadInput for a network that is not an SCRFD with five points."""
        ports, columns = self.runner.inputs, [port.shape[-1:] for port in self.runner.outputs]
        fits = [wide in ((), (None,), (right,)) for wide, right in zip(columns, _COLUMNS, strict=False)]
        if len(ports) != 1 or len(ports[0].shape) != 4 or len(columns) != len(_COLUMNS) or not all(fits):
            raise BadInput(
                f"{self.runner.path}: is not an SCRFD detector with five points, which takes one image and gives "
                f"{len(_COLUMNS)} outputs, {', '.join(map(str, _COLUMNS))} columns wide"
            )
        if odd := [side for window in self.windows for side in window if side % _STRIDES[-1]]:
            raise BadInput(
                f"{self.runner.path}: its input is {odd[0]} px on a side, which must be a multiple of {_STRIDES[-1]}"
            )

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return self.runner.networks

    @property
    def windows(self) -> list[tuple[int, int]]:
        """Height and width of the window of each pass."""
        height, width = self.runner.inputs[0].shape[2:]
        sizes = (self.size, _SMALL) if height is None and width is None and self.size > _SMALL else (self.size,)
        return [(height or size, width or size) for size in sizes]

    def __call__(self, images: Tensor, threshold: float) -> Found:
        if not len(images):
            none = images.new_zeros(0)
            return none.long(), none.view(0, 4), none.view(0, 1, 2).expand(0, 5, 2), none
        looks = [self.look(images, window, threshold) for window in self.windows]
        frame, box, points, score = (torch.cat(parts) for parts in zip(*looks, strict=True))
        best = score.topk(min(_MOST, len(score))).indices
        kept = best[suppress(box[best], score[best], frame[best], self.overlap)]
        kept = kept[frame[kept].argsort(stable=True)]
        return frame[kept], box[kept], points[kept], score[kept]

    def look(self, images: Tensor, window: tuple[int, int], threshold: float) -> Found:
        """All proposals that score above the threshold in a window (height, width), before non-maximum suppression."""
        height, width = images.shape[-2:]
        scale = min(window[0] / height, window[1] / width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if size != (height, width):
            images = nnf.interpolate(images, size, mode="bilinear", antialias=True)
        shown = nnf.pad(images, (0, window[1] - size[1], 0, window[0] - size[0]))
        outputs = self.runner((shown * 255 - 127.5) / 128)
        scores, boxes, points = (
            torch.cat([part.reshape(len(images), -1, columns) for part in outputs[first : first + 3]], 1)
            for first, columns in ((0, 1), (3, 4), (6, 10))
        )
        frame, row = (scores[..., 0] > threshold).nonzero(as_tuple=True)
        place, stride = (value[row] for value in _anchor_cells(window, images.device))
        away = boxes[frame, row] * stride
        corners = torch.stack([place - away[:, :2], place + away[:, 2:]], 1)
        points = place[:, None] + points[frame, row].view(-1, 5, 2) * stride[:, None]
        # Pixel centres: x in the small image is (x + 0.5) * ratio - 0.5 in the original.
        ratio = images.new_tensor([width / size[1], height / size[0]])
        corners, points = (corners + 0.5) * ratio - 0.5, (points + 0.5) * ratio - 0.5
        return frame, corners.flatten(1), points, scores[frame, row, 0]


def _anchor_cells(window: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The cell of each output row, (N, 2) x y pixels, and its stride, (N, 1)."""
    places, strides = [], []
    for stride in _STRIDES:
        grid = pixel_grid(window[0] // stride, window[1] // stride, device).view(-1, 2)
        places.append(grid.repeat_interleave(2, 0) * stride)
        strides.append(torch.full_like(places[-1][:, :1], stride))
    return torch.cat(places), torch.cat(strides)
