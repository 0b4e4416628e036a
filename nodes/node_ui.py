"""What a node shows: parts of a NodeOutput's `ui` that the scripts in web/ draw under the node.

Pictures are written to the host's temporary folder, at most 768 px along the longer side, the first eight of a batch.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import folder_paths
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor

from ..cscs_core.io import images
from ..cscs_core.types import FaceSet
from . import host

_MOST = 8  # pictures of a batch
_LONGEST = 768  # px
_FOLDER = "cscs"  # in the temporary folder


def plural(number: int, what: str) -> str:
    """A count with its noun: "1 face", "3 faces"."""
    return f"{number} {what}{'s' * (number != 1)}"


def badge(text: str) -> dict[str, Any]:
    """A few words on the node."""
    return {"cscs_badge": [text]}


def text(words: str) -> dict[str, Any]:
    """Lines of text under the node."""
    return {"text": [words]}


def pictures(image: Tensor) -> dict[str, Any]:
    """The pictures of an IMAGE under the node, each in its own size."""
    return {"images": [_saved(image, index, None) for index in range(image.shape[0])]}


def compare(before: Tensor, after: Tensor) -> dict[str, Any]:
    """Two IMAGEs of equal length, frame by frame with a slider between them."""
    count = min(before.shape[0], after.shape[0], _MOST)
    pairs = [{"before": _saved(before, index), "after": _saved(after, index)} for index in range(count)]
    return {"cscs_compare": pairs}


def picker(image: Tensor, faces: FaceSet, chosen: FaceSet | None = None) -> dict[str, Any]:
    """An IMAGE whose faces can be clicked, numbered from 0 in each frame in the order of the rows. Those in `chosen`
    (all if it is not given) are marked."""
    kept = None if chosen is None else {_place(frame, box) for frame, box in _rows(chosen)}
    sheets = []
    for index in range(min(image.shape[0], _MOST)):
        here = faces[faces.frame == index]
        marks = [
            {"number": number, "box": box, "score": score, "chosen": kept is None or _place(index, box) in kept}
            for number, (box, score) in enumerate(zip(here.box.tolist(), here.score.tolist(), strict=True))
        ]
        size = {"width": image.shape[2], "height": image.shape[1]}
        sheets.append({**_saved(image, index), **size, "frame": index, "faces": marks})
    return {"cscs_picker": sheets}


def _rows(faces: FaceSet) -> list[tuple[int, list[float]]]:
    return list(zip(faces.frame.tolist(), faces.box.tolist(), strict=True))


def _place(frame: int, box: list[float]) -> tuple[int | float, ...]:
    return (frame, *box)


def _saved(image: Tensor, index: int, longest: int | None = _LONGEST) -> dict[str, str]:
    """Writes one frame of an IMAGE to the temporary folder and returns where the page finds it. Checks for Cancel
    first."""
    host.raise_if_cancelled()
    picture = rearrange(image[index : index + 1, ..., :3], "b h w c -> b c h w").float()
    picture = picture.expand(-1, 3, -1, -1)
    if longest and max(picture.shape[-2:]) > longest:
        scale = longest / max(picture.shape[-2:])
        size = [max(1, round(side * scale)) for side in picture.shape[-2:]]
        picture = nnf.interpolate(picture, size, mode="bilinear", antialias=True)
    folder = Path(folder_paths.get_temp_directory()) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{uuid.uuid4().hex}.{'jpg' if longest else 'png'}"
    images.write(folder / name, picture[0])
    return {"filename": name, "subfolder": _FOLDER, "type": "temp"}
