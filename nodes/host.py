"""The border with ComfyUI: sockets, pictures, models, progress. Inside, frames are (1, 3, H, W) float32 RGB 0..1."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
import torch.nn.functional as nnf
from comfy_api.latest import io
from torch import Tensor, nn

from ..cscs_core import pipeline
from ..cscs_core.detectors import BUNDLED, detectors
from ..cscs_core.store import Store, default_store
from ..cscs_core.swap import Swapper
from ..cscs_core.swappers import available, load_swapper

_Seen = tuple[tuple[str, int], ...]  # names and times of files
_NEIGHBOURS = ("insightface", "reactor", "reswapper", "hyperswap", "facefusion")  # folders of other packs in models/

Faces = io.Custom("CSCS_FACES")  # a FaceSet; its frame column counts the images of the batch
Identity = io.Custom("CSCS_IDENTITY")  # an Identity


def photo(image: Tensor, index: int) -> Tensor:
    """One picture of an IMAGE (B, H, W, C), on the device that computes: (1, 3, H, W) float32. Alpha is dropped."""
    pixels = image[index : index + 1, ..., :3].movedim(-1, 1)  # BHWC -> BCHW
    return pixels.expand(-1, 3, -1, -1).to(mm.get_torch_device(), torch.float32)


def photos(image: Tensor) -> list[Tensor]:
    """Every picture of an IMAGE, as `photo`."""
    return [photo(image, index) for index in range(image.shape[0])]


def frames(image: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The pictures of an IMAGE one by one, as `photo`; between them the progress bar moves and Cancel is obeyed."""
    bar = comfy.utils.ProgressBar(image.shape[0])
    for index in range(image.shape[0]):
        mm.throw_exception_if_processing_interrupted()
        yield index, photo(image, index)
        bar.update(1)


def blank(image: Tensor, channels: int = 3) -> Tensor:
    """Room for an output IMAGE as long and large as another, filled frame by frame: no frame is held twice."""
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32  # since ComfyUI 0.17
    return torch.zeros(*image.shape[:3], channels, device=mm.intermediate_device(), dtype=dtype)


def pixels(images: Tensor) -> Tensor:
    """(B, C, H, W) -> IMAGE (B, H, W, C) on the host's device and in its number format."""
    layout = images.movedim(1, -1)  # BCHW -> BHWC
    return blank(layout, layout.shape[-1]).copy_(layout)


def limit(mask: Tensor | None, index: int, frame: Tensor) -> Tensor | None:
    """The MASK (B, h, w) or (h, w) of one frame in the frame's size, (1, 1, H, W); the last one serves the frames
    beyond it."""
    if mask is None or not mask.numel():
        return None
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    mask = mask[min(index, mask.shape[0] - 1)][None].to(frame)
    return nnf.interpolate(mask, frame.shape[-2:], mode="bilinear", antialias=True).clamp(0, 1)


@functools.lru_cache(maxsize=2)
def _models(detector: str, seen: _Seen) -> tuple[pipeline.Models, list[comfy.model_patcher.ModelPatcher]]:
    """The networks that find faces and tell people apart, and the host's handles to them; 20 MB if bundled, which stay
    in memory once used."""
    with _ordinary():
        models = pipeline.load_models("cpu", detector, store(), sessions=mm.get_torch_device())
    return models, _handles(models.networks)


def _handles(networks: Sequence[nn.Module]) -> list[comfy.model_patcher.ModelPatcher]:
    # Looked up late: the host swaps the class at start. CoreModelPatcher came with ComfyUI 0.11.
    handle = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    device, rest = mm.get_torch_device(), mm.unet_offload_device()
    return [handle(net, load_device=device, offload_device=rest) for net in networks]


def add_model_folder() -> None:
    """models/cscs becomes a folder of the host's, beside those that extra_model_paths.yaml names."""
    folder_paths.add_model_folder_path("cscs", str(Path(folder_paths.models_dir) / "cscs"), is_default=True)


def store() -> Store:
    """Where model files are: the host's models/cscs first, then wherever else people keep such files."""
    first, *others = (Path(folder) for folder in folder_paths.get_folder_paths("cscs"))
    models = Path(folder_paths.models_dir)
    neighbours = (models / name for name in _NEIGHBOURS)
    folders = (*others, default_store().home, *neighbours)  # what `cscs fetch` got is found too
    return Store(first, tuple(folder for folder in folders if folder.is_dir()))


def detector_input() -> io.Combo.Input:
    """Which detector finds the faces: a widget that several nodes have."""
    return io.Combo.Input(
        "detector",
        options=detectors(store()),
        default=BUNDLED,
        optional=True,
        tooltip="What finds the faces. lite is bundled. buffalo_l, antelopev2 and other insightface packs in "
        "models/insightface find smaller and more turned faces; they need insightface and onnxruntime and are for "
        "non-commercial research.",
    )


def swappers() -> list[str]:
    """The swappers whose files are there, and cscs: without its files the node says how to get them."""
    there = available(store())
    return there if "cscs" in there else [*there, "cscs"]


@functools.lru_cache(maxsize=1)
def _swapper(name: str, seen: _Seen) -> tuple[Swapper, list[comfy.model_patcher.ModelPatcher]]:
    """The swapper used last and the host's handles to its networks."""
    with _ordinary():
        swapper = load_swapper(name, store(), "cpu", sessions=mm.get_torch_device())
    return swapper, _handles(swapper.networks)


def _seen() -> _Seen:
    """What lies in models/cscs: a file that was exchanged is read again."""
    folder = store().home
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple((file.name, file.stat().st_mtime_ns) for file in files if file.is_file())


@contextlib.contextmanager
def _ordinary() -> Iterator[None]:
    """Nodes run in inference mode; what is made there cannot be moved outside, where the host unloads models."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def models(image: Tensor, detector: str = BUNDLED) -> pipeline.Models:
    """What finds faces, ready on the device that computes, with room there for one frame of the IMAGE."""
    loaded, handles = _models(detector, _seen())
    _ready(handles, image)
    return loaded


def models_and_swapper(image: Tensor, name: str, detector: str = BUNDLED) -> tuple[pipeline.Models, Swapper]:
    """The same and a swapper, ready together: loaded one by one, the second might push out the first."""
    loaded, handles = _models(detector, _seen())
    swapper, more = _swapper(name, _seen())
    _ready(handles + more, image, 2**30 if more else 0)  # eight faces at 256 px take a gigabyte
    return loaded, swapper


def _ready(handles: list[comfy.model_patcher.ModelPatcher], image: Tensor, more: int = 0) -> None:
    frame = image.shape[-3] * image.shape[-2] * 3 * 4  # bytes
    # Two dozen frames for the detector's first maps and the paste, 256 MiB for the crops of a crowd.
    mm.load_models_gpu(handles, memory_required=24 * frame + 2**28 + more, force_full_load=True)
    for handle in handles:
        handle.model.to(handle.load_device)  # --novram leaves plain layers behind even with force_full_load
