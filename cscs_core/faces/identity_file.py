"""Identity files: the reference crops, which any encoder or swapper can read again, and their embeddings.

A file holds nothing else: no name, no path, no pixels outside the crops. Crops are stored in eight bits, 0.8 MB each at
512 px; embeddings recomputed from them with the bundled encoder have a cosine of 0.99999 to the originals (measured on
eight people). Face models saved by ReActor can be read too; they hold an embedding and no image.
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
REACTOR = "buffalo_l"  # the pack whose recogniser ReActor uses
SUFFIX = ".safetensors"

_LONGEST_HEADER = 2**16  # bytes; our files need less than 1000
LARGEST = 2**28  # bytes: 340 crops of 512 px; the tensors cannot be larger than the file
_MOST, _SIDE, _WIDTH = 512, 2048, 4096  # limits: references, crop side in pixels, length of an embedding
_REACTOR_KEYS = {"bbox", "kps", "embedding"}
_TENSORS = ("pixels", "matrix", "landmarks", "mesh", "embedding", "weight")


def named(folder: Path, name: str) -> Path:
    """The path of the identity file with this name in a folder. Raises BadInput for a name that is not a plain file
    name."""
    if not re.fullmatch(r"[A-Za-z0-9_-]([A-Za-z0-9 _-]{0,98}[A-Za-z0-9_-])?", name) or _reserved(name):
        raise BadInput(
            f"{name!r} cannot be used as a file name: use only letters a-z, digits, -, _ and spaces inside, without "
            "a file extension"
        )
    return folder / f"{name}{SUFFIX}"


def _reserved(name: str) -> bool:
    """Whether Windows would open a device instead of a file of this name."""
    return re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", name) is not None


def listing(folder: Path) -> list[str]:
    """The names of the identity files in a folder, without the extension, sorted."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def within(folder: Path, file: str) -> Path:
    """The path of a file in a folder. Raises BadInput if the file is missing or lies outside, also through a link."""
    path = folder / file
    if re.search(r"[/\\:\x00-\x1f]", file) or path.resolve().parent != folder.resolve():
        raise BadInput(f"{path}: lies outside {folder}; copy the file into that folder")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    return path


def save_identity(path: Path, identity: Identity, overwrite: bool = False) -> None:
    """Writes an identity to a file, atomically and readable only by its owner. Raises BadInput if the file exists and
    `overwrite` is off, if it cannot be written, or if the identity has no reference crops."""
    crops = require_photos(identity).crops
    if path.exists() and not overwrite:
        raise BadInput(f"{path}: already exists; choose another name or turn on overwrite")
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
    """The identity from one of our files, or from a face model of ReActor (0 crops and one embedding, for matching).

    Raises BadInput, naming the file, for anything else. The size of the file is checked before any tensor is read, and
    shape, dtype and values of every tensor before it is used.
    """
    _check_size(path)
    tensors, metadata = weights.read(path)
    if "format" not in metadata and set(tensors) >= _REACTOR_KEYS:
        return _from_reactor(path, tensors)
    if metadata.get("format") != FORMAT:
        raise BadInput(f"{path}: is not an identity; choose a file made by Save Identity, or a face model of ReActor")
    if (version := metadata.get("version", "")) != str(VERSION):
        raise BadInput(f"{path}: {_other_version(version)}")
    encoder = metadata.get("encoder", "")
    if not re.fullmatch(r"[^\x00-\x1f/\\]{1,255}", encoder):
        raise BadInput(f"{path}: does not name the encoder of its embeddings; save the identity again")
    if problem := _problem(tensors):
        raise BadInput(f"{path}: is not a valid identity file ({problem}); save the identity again")
    pixels = tensors["pixels"].float() / 255
    count, _, size, _ = pixels.shape
    # Copies, because the tensors are memory-mapped and would change with the file.
    matrix, landmarks, points, embedding, weight = (tensors[name].clone() for name in _TENSORS[1:])
    crops = Crops(pixels, torch.ones(count, 1, size, size), matrix, landmarks, points, torch.arange(count))
    return Identity(crops, embedding, weight, encoder)


def _check_size(path: Path) -> None:
    if not path.is_file() or not os.access(path, os.R_OK):
        return  # weights.read reports it
    size = path.stat().st_size
    if size > LARGEST + _LONGEST_HEADER:
        raise BadInput(f"{path}: is {size >> 20} MB; an identity file has at most {LARGEST >> 20} MB")
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") > _LONGEST_HEADER:
        raise BadInput(f"{path}: has a header larger than that of any identity file ({_LONGEST_HEADER >> 10} KB)")


def _from_reactor(path: Path, tensors: Mapping[str, Tensor]) -> Identity:
    embedding = tensors["embedding"]
    if embedding.shape != (512,) or embedding.dtype != torch.float32 or not 0 < embedding.norm() < 1e6:
        raise BadInput(
            f"{path}: is not a valid face model of ReActor: its embedding is not a vector of 512 floats; save it again "
            "in ReActor"
        )
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
        return "does not give the version of its format; save the identity again"
    if int(version) > VERSION:
        return f"has format version {int(version)}, but this CSCS reads version {VERSION}; update CSCS"
    return f"has format version {int(version)}, which is no longer supported; save the identity again"


def _problem(tensors: Mapping[str, Tensor]) -> str | None:
    """Why the tensors are not an identity, in a few words; None if they are."""
    if set(tensors) != set(_TENSORS):
        different = sorted(set(tensors) ^ set(_TENSORS))[0]
        return f"{'missing' if different in _TENSORS else 'unexpected'} tensor {different[:40]!r}"
    count, side = tensors["pixels"].shape[0] if tensors["pixels"].ndim == 4 else 0, tensors["pixels"].shape[-1:]
    width = tensors["embedding"].shape[-1:]
    if not 0 < count <= _MOST:
        return f"it has {count} reference crops, not 1 to {_MOST}"
    if not 0 < side[0] <= _SIDE or not width or not 0 < width[0] <= _WIDTH:
        return f"its crops must be 1 to {_SIDE} px wide, its embeddings 1 to {_WIDTH} numbers long"
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
            return f"{name} is {_describe(tensors[name])} instead of {' x '.join(map(str, shape))} {_dtype_name(kind)}"
    return _wrong_numbers(tensors, side[0])


def _wrong_numbers(tensors: Mapping[str, Tensor], side: int) -> str | None:
    embedding, weight, matrix = tensors["embedding"], tensors["weight"], tensors["matrix"]
    if not all(value.isfinite().all() for name, value in tensors.items() if name != "pixels"):
        return "it contains NaN or infinite numbers"
    if weight.min() < 0 or not 0 < weight.sum() < 1e9:
        return "its weights must not be negative or all 0"
    if (embedding.norm(dim=-1) - 1).abs().max() > 0.01:
        return "its embeddings are not unit vectors"
    if matrix.abs().max() > 1e6:
        return "its matrices are out of range"
    for name in ("landmarks", "mesh"):
        points = tensors[name]
        # The crop is cut around the face: points far outside it, or all in one place, are not a face.
        if points.min() < -4 * side or points.max() > 5 * side or points.std(1).norm(dim=-1).min() < side / 100:
            return f"its {name} points do not form a face"
    return None


def _too_large(tensors: Mapping[str, Tensor]) -> str | None:
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    return f"{len(tensors['weight'])} photos are too many for one file; use fewer" if size > LARGEST else None


def _describe(value: Tensor) -> str:
    return f"{' x '.join(map(str, value.shape)) or 'one number'} {_dtype_name(value.dtype)}"


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
