"""A person in a file: the reference crops, so that any encoder or swapper can read them again, and the embeddings.

Nothing else is in it: no name, no path, no picture beyond the crops. These are kept in eight bits, 0.8 MB each at
512 px: made again from them, embeddings of the bundled encoder had a cosine of 0.99999 with those made before, on eight
people. The face models that ReActor saves are read too; they hold an embedding and no picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as nnf
from safetensors.torch import save
from torch import Tensor

from ..hub import weights
from ..hub.store import oserror_as_bad_input
from ..io.files import BadInput, placed
from ..io.images import clean
from ..ops.mesh import POINTS
from ..types import Crops, Identity
from .identity import require_photos

FORMAT, VERSION = "cscs-identity", 1
REACTOR = "buffalo_l"  # the pack whose recogniser ReActor asks
SUFFIX = ".safetensors"

_LONGEST_HEADER = 2**16  # bytes; ours takes less than one thousand
LARGEST = 2**28  # bytes: 340 crops of 512 px; what tensors may claim cannot be more than is in the file
_MOST, _SIDE, _WIDTH = 512, 2048, 4096  # references, pixels along a crop, numbers in an embedding
_REACTOR_KEYS = {"bbox", "kps", "embedding"}
_TENSORS = ("pixels", "matrix", "landmarks", "mesh", "embedding", "weight")


def named(folder: Path, name: str) -> Path:
    """Where a person of this name is kept in a folder. Raises BadInput for a name that is more than a name."""
    if not re.fullmatch(r"[A-Za-z0-9_-]([A-Za-z0-9 _-]{0,98}[A-Za-z0-9_-])?", name) or _reserved(name):
        raise BadInput(
            f"{name!r}: a file name is made of letters a-z, digits, spaces inside, - and _, without an ending"
        )
    return folder / f"{name}{SUFFIX}"


def _reserved(name: str) -> bool:
    """Windows opens a device instead of a file of these names."""
    return re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", name) is not None


def listing(folder: Path) -> list[str]:
    """The files of people in a folder, without the ending."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def within(folder: Path, file: str) -> Path:
    """A file that lies in a folder; raises BadInput for one that is missing or leads out of it, also by a link."""
    path = folder / file
    if re.search(r"[/\\:\x00-\x1f]", file) or path.resolve().parent != folder.resolve():
        raise BadInput(f"{path}: lies outside {folder}; put the file itself there")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    return path


def save_identity(path: Path, identity: Identity, overwrite: bool = False) -> None:
    """The person to a file, whole or not at all, that only its owner may read. Raises BadInput for a file that is there
    already, one that cannot be written, and a person without photographs."""
    crops = require_photos(identity).crops
    if path.exists() and not overwrite:
        raise BadInput(f"{path}: is there already; take another name or turn overwrite on")
    tensors = {
        "pixels": (clean(crops.pixels).clamp(0, 1) * 255).round().byte(),
        "matrix": crops.matrix.float(),
        "landmarks": crops.landmarks.float(),
        "mesh": crops.mesh.float(),
        "embedding": identity.embedding.float(),
        "weight": identity.weight.float(),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    if (problem := _problem(tensors)) or (problem := _too_large(tensors)):
        raise BadInput(f"{path}: this identity cannot be saved: {problem}")
    with oserror_as_bad_input(path), placed(path) as beside:
        beside.touch(mode=0o600)
        beside.write_bytes(save(tensors, {"format": FORMAT, "version": str(VERSION), "encoder": identity.encoder}))


def load_identity(path: Path) -> Identity:
    """The person in a file of ours, or in a face model of ReActor: 0 crops and one embedding, for matching.

    Raises BadInput, naming the file, for anything else. No tensor is read before the file's size is known to be small,
    and none is used before its shape, its kind and its numbers are what they have to be.
    """
    _check_size(path)
    tensors, metadata = weights.read(path)
    if "format" not in metadata and set(tensors) >= _REACTOR_KEYS:
        return _of_reactor(path, tensors)
    if metadata.get("format") != FORMAT:
        raise BadInput(f"{path}: holds no person; give a file that Save Identity made, or a face model of ReActor")
    if (version := metadata.get("version", "")) != str(VERSION):
        raise BadInput(f"{path}: {_other_version(version)}")
    encoder = metadata.get("encoder", "")
    if not re.fullmatch(r"[^\x00-\x1f/\\]{1,255}", encoder):
        raise BadInput(f"{path}: does not say which encoder made its embeddings; save the person again")
    if problem := _problem(tensors):
        raise BadInput(f"{path}: is no identity of this project ({problem}); save the person again")
    pixels = tensors["pixels"].float() / 255
    count, _, size, _ = pixels.shape
    # Copies: the file's own numbers stay mapped, and change under us when it does.
    matrix, landmarks, points, embedding, weight = (tensors[name].clone() for name in _TENSORS[1:])
    crops = Crops(pixels, torch.ones(count, 1, size, size), matrix, landmarks, points, torch.arange(count))
    return Identity(crops, embedding, weight, encoder)


def _check_size(path: Path) -> None:
    if not path.is_file() or not os.access(path, os.R_OK):
        return  # weights.read says what it is
    size = path.stat().st_size
    if size > LARGEST + _LONGEST_HEADER:
        raise BadInput(f"{path}: is {size >> 20} MB, more than an identity can be ({LARGEST >> 20} MB); refused")
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") > _LONGEST_HEADER:
        raise BadInput(f"{path}: describes itself at more length than an identity can; refused")


def _of_reactor(path: Path, tensors: Mapping[str, Tensor]) -> Identity:
    embedding = tensors["embedding"]
    if embedding.shape != (512,) or embedding.dtype != torch.float32 or not 0 < embedding.norm() < 1e6:
        raise BadInput(f"{path}: is no face model of ReActor: its embedding is not 512 numbers; save it again there")
    none = torch.zeros(0, 1, 1, 1)
    points = torch.zeros(0, POINTS, 2)
    crops = Crops(
        none.expand(0, 3, 512, 512),
        none.expand(0, 1, 512, 512),
        torch.zeros(0, 2, 3),
        points[:, :5],
        points,
        torch.zeros(0, dtype=torch.long),
    )
    return Identity(crops, nnf.normalize(embedding, dim=-1)[None], torch.ones(1), REACTOR)


def _other_version(version: str) -> str:
    if not re.fullmatch(r"\d{1,9}", version):
        return "does not say which version of the format it has; save the person again"
    if int(version) > VERSION:
        return f"has version {int(version)} of the format, this CSCS reads {VERSION}; update CSCS"
    return f"has version {int(version)} of the format, which nobody reads any more; save the person again"


def _problem(tensors: Mapping[str, Tensor]) -> str | None:
    """What keeps tensors from being a person, in a few words."""
    if set(tensors) != set(_TENSORS):
        different = sorted(set(tensors) ^ set(_TENSORS))[0]
        return f"it {'lacks' if different in _TENSORS else 'has something called'} {different[:40]!r}"
    count, side = tensors["pixels"].shape[0] if tensors["pixels"].ndim == 4 else 0, tensors["pixels"].shape[-1:]
    width = tensors["embedding"].shape[-1:]
    if not 0 < count <= _MOST:
        return f"it has {count} reference crops, not 1 to {_MOST}"
    if not 0 < side[0] <= _SIDE or not width or not 0 < width[0] <= _WIDTH:
        return "it has no reference crops and embeddings of a sensible size"
    shapes = {
        "pixels": (count, 3, *side, *side),
        "matrix": (count, 2, 3),
        "landmarks": (count, 5, 2),
        "mesh": (count, POINTS, 2),
        "embedding": (count, *width),
        "weight": (count,),
    }
    for name, shape in shapes.items():
        kind = torch.uint8 if name == "pixels" else torch.float32
        if tensors[name].shape != shape or tensors[name].dtype != kind:
            return f"{name} is {_described(tensors[name])} instead of {' x '.join(map(str, shape))} {_kind(kind)}"
    return _wrong_numbers(tensors, side[0])


def _wrong_numbers(tensors: Mapping[str, Tensor], side: int) -> str | None:
    embedding, weight, matrix = tensors["embedding"], tensors["weight"], tensors["matrix"]
    if not all(value.isfinite().all() for name, value in tensors.items() if name != "pixels"):
        return "it holds numbers that are not finite"
    if weight.min() < 0 or not 0 < weight.sum() < 1e9:
        return "its weights must not be negative, and not all of them 0"
    if (embedding.norm(dim=-1) - 1).abs().max() > 0.01:
        return "its embeddings are not of length 1"
    if matrix.abs().max() > 1e6:
        return "its matrices lead nowhere"
    for name in ("landmarks", "mesh"):
        points = tensors[name]
        # The crop is cut around the face: points far outside or all in one place are no face.
        if points.min() < -4 * side or points.max() > 5 * side or points.std(1).norm(dim=-1).min() < side / 100:
            return f"its {name} are no face"
    return None


def _too_large(tensors: Mapping[str, Tensor]) -> str | None:
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    return f"{len(tensors['weight'])} photos are too many for a file; take fewer" if size > LARGEST else None


def _described(value: Tensor) -> str:
    return f"{' x '.join(map(str, value.shape)) or 'one number'} {_kind(value.dtype)}"


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
