"""Detection and recognition with the insightface package (2.1 or newer) and model packs that the user has.

Nothing is downloaded: insightface is given file paths, never a model name that it could look up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...hub.onnx.reader import read_ports
from ...hub.onnx.runner import OnnxSetup, onnx_errors, warn_of_cpu
from ...io.files import BadInput, one_line
from ..identity import Encoder
from .base import Detector, Found

_ELSE = "the bundled detector and encoder do not need it"
_TASKS = ("detection", "recognition")
_ATTRIBUTES = 96  # px: the input side by which insightface recognises networks for age and gender


@dataclass(frozen=True)
class PackDetector:
    """The detector of a pack, run by insightface on one image at a time."""

    model: Any  # insightface's SCRFD
    people: Any = None  # insightface's Attribute, if the pack has a network for age and gender
    networks: tuple[nn.Module, ...] = ()

    def __call__(self, images: Tensor, threshold: float) -> Found:
        found = [self.model.detect(picture, det_thresh=threshold) for picture in _to_bgr(images)]
        frame = torch.arange(len(found)).repeat_interleave(torch.tensor([len(rows) for rows, _ in found]).long())
        none = (np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32))
        rows, points = (torch.from_numpy(np.concatenate(part)).to(images) for part in zip(none, *found, strict=True))
        return frame.to(images.device), rows[:, :4], points, rows[:, 4]

    def attributes(self, images: Tensor, frame: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Ages and genders of F faces, (F, 4) boxes -> (F,) years, (F,) int64; NaN and -1 without a network for
        them."""
        age, gender = box.new_full((len(box),), torch.nan), torch.full_like(frame, -1)
        if self.people is None:
            return age, gender
        from insightface.app.common import Face  # pyright: ignore[reportMissingImports]

        for index in frame.unique().tolist():
            rows = (frame == index).nonzero()[:, 0].tolist()
            (picture,) = _to_bgr(images[index : index + 1])
            estimates = [self.people.get(picture, Face(bbox=box[row].cpu().numpy())) for row in rows]
            gender[rows] = gender.new_tensor([int(one) for one, _ in estimates])
            age[rows] = age.new_tensor([max(0.0, float(years)) for _, years in estimates])
        return age, gender


@dataclass(frozen=True)
class PackEncoder:
    """The recogniser of a pack."""

    model: Any  # insightface's ArcFaceONNX
    width: int
    name: str  # the pack's
    template: str = "arcface_112_v2"
    networks: tuple[nn.Module, ...] = ()

    @property
    def size(self) -> int:
        return self.model.input_size[0]

    def __call__(self, crops: Tensor) -> Tensor:
        pictures = (crops * 255).round().clamp(0, 255).cpu().numpy()  # quantised to eight bits, as insightface's crops
        groups = [pictures] if self.model.input_shape[0] != 1 else np.split(pictures, len(pictures))
        rows = np.concatenate([self.model.forward(group) for group in groups])
        return nnf.normalize(torch.from_numpy(rows).to(crops), dim=-1)


def packs(folders: Iterable[Path]) -> dict[str, Path]:
    """The packs found as FOLDER/models/PACK/*.onnx, insightface's layout; the first folder wins for each name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("models/*")):
            if any(_pack_folder(path).glob("*.onnx")):
                found.setdefault(path.name, _pack_folder(path))
    return found


def load_pack(path: Path, device: torch.device | str = "cpu") -> tuple[Detector, Encoder | None]:
    """The detector of a pack, and its recogniser if it has one.

    Raises BadInput, saying what to do, if insightface, onnxruntime or the pack is missing, or if it has no detector.
    """
    path, device = _pack_folder(path), torch.device(device)
    if not any(path.glob("*.onnx")):
        raise BadInput(f"{path}: contains no insightface pack; unpack its .onnx files there ({_ELSE})")
    try:
        from insightface.model_zoo import package_manifest  # pyright: ignore[reportMissingImports]

        setup = OnnxSetup.on(device)
    except ImportError as error:
        raise BadInput(
            f"{path}: needs insightface 2.1: pip install insightface onnxruntime ({error}; {_ELSE})"
        ) from None
    models = _by_manifest(path, setup) if package_manifest.has_model_package_manifest(path) else _by_shape(path, setup)
    if "detection" not in models or not models["detection"].use_kps:
        raise BadInput(f"{path}: has no detector with five points; use another pack ({_ELSE})")
    for model in models.values():
        warn_of_cpu(Path(model.model_file), model.session, device)
    detector = PackDetector(models["detection"], models.get("genderage"))
    encoder = models.get("recognition")
    if encoder is None:
        return detector, None
    width = encoder.forward(np.zeros((1, 3, *encoder.input_size), np.float32)).shape[-1]
    return detector, PackEncoder(encoder, width, path.name)


def _to_bgr(images: Tensor) -> list[np.ndarray]:
    """(B, 3, H, W) RGB 0..1 as insightface expects it: (H, W, 3) BGR uint8, one array per image."""
    pictures = (images * 255).round().clamp(0, 255).byte().flip(1).movedim(1, -1).cpu().numpy()
    return [np.ascontiguousarray(picture) for picture in pictures]


def _by_shape(path: Path, setup: OnnxSetup) -> dict[str, Any]:
    """Detector, recogniser and age-and-gender network, recognised by their inputs and outputs as insightface does; the
    first of each kind."""
    models: dict[str, Any] = {}
    for file in sorted(path.glob("*.onnx")):
        inputs, outputs = read_ports(file)
        height, width = inputs[0].shape[2:] if len(inputs) == 1 and len(inputs[0].shape) == 4 else (None, 0)
        if len(inputs) == 1 and len(outputs) in (9, 15):  # scores, boxes and points at three or five strides
            task = "detection"
        elif len(outputs) == 1 and (height, width) == (_ATTRIBUTES, _ATTRIBUTES) and outputs[0].shape[-1:] == (3,):
            task = "genderage"  # two scores for the gender, then the age
        elif len(outputs) == 1 and height == width and height not in (None, _ATTRIBUTES, 192):  # 192: landmarks
            task = "recognition"
        else:
            continue
        if task not in models:
            models[task] = _open(file, setup)
    return models


def _by_manifest(path: Path, setup: OnnxSetup) -> dict[str, Any]:
    """Detector and recogniser of a pack with a manifest that describes its files."""
    from insightface.model_zoo import package_manifest  # pyright: ignore[reportMissingImports]

    try:
        tasks = package_manifest.load_model_package(path).tasks
        return {
            name: _open(task.path, setup, model_task=name, model_descriptor=task)
            for name, task in tasks.items()
            if name in _TASKS
        }
    except (ValueError, TypeError, RuntimeError, FileNotFoundError) as error:
        if isinstance(error, BadInput):
            raise
        reason = one_line(error)
        raise BadInput(f"{path}: its manifest does not match its files ({reason}); unpack the pack again") from None


def _open(file: Path, setup: OnnxSetup, **named: Any) -> Any:
    from insightface.model_zoo import get_model  # pyright: ignore[reportMissingImports]

    with onnx_errors(file):
        return get_model(str(file), providers=setup.providers, sess_options=setup.options, **named)


def _pack_folder(path: Path) -> Path:
    """The folder with a pack's files: the given one, or one of the same name in it, as antelopev2 is zipped."""
    return path / path.name if not any(path.glob("*.onnx")) and (path / path.name).is_dir() else path
