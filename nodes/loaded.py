"""Networks under ComfyUI's memory management: loaded by name and kept until a model file changes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import comfy.model_management as mm
import comfy.model_patcher
import folder_paths
import torch
from torch import Tensor, nn

from ..cscs_core import pipeline
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.restorers import catalogue as restorers
from ..cscs_core.faces.restorers.base import Restorer
from ..cscs_core.faces.swappers.base import Swapper
from ..cscs_core.faces.swappers.catalogue import DEFAULT_SWAPPER, available, load_swapper
from ..cscs_core.hub.store import Store, default_store, iter_files
from . import host

Role = Literal["detector", "swapper", "restorer"]
DEVICES = ("auto", "cpu")  # ComfyUI's compute device, or the CPU

_Handles = list[comfy.model_patcher.ModelPatcher]
_Seen = tuple[tuple[str, int, int], ...]  # path, size in bytes and modification time of each file
_NEIGHBOURS = ("insightface", "reactor", "reswapper", "hyperswap", "facefusion")  # folders of other packs in models/


@dataclass(frozen=True, slots=True)
class Choice:
    """A model by name, as Load Model outputs it. It is loaded when a node needs it."""

    role: Role
    name: str
    device: str = "auto"  # one of DEVICES


def chosen(value: object, role: Role, default: str) -> Choice:
    """The value of a model input as a Choice: None is the default, a text is a name, and a Choice may come from another
    copy of this pack."""
    if value is None or isinstance(value, str):
        return Choice(role, value or default)
    kind, name, device = (getattr(value, part, None) for part in ("role", "name", "device"))
    if kind != role or not isinstance(name, str) or device not in DEVICES:
        what = kind if isinstance(kind, str) and kind != role else type(value).__name__
        raise ValueError(f"{role} holds a {what}; connect the {role} output of Load Model (CSCS)")
    return Choice(role, name, device)


def add_model_folder() -> None:
    """Registers models/cscs as a model folder of the host, beside those in extra_model_paths.yaml."""
    folder_paths.add_model_folder_path("cscs", str(Path(folder_paths.models_dir) / "cscs"), is_default=True)


def store() -> Store:
    """Where model files are searched: the host's models/cscs first, then the folders of other packs."""
    first, *others = (Path(folder) for folder in folder_paths.get_folder_paths("cscs"))
    models = Path(folder_paths.models_dir)
    neighbours = (models / name for name in _NEIGHBOURS)
    folders = (*others, default_store().home, *neighbours)  # files from `cscs fetch` are found too
    return Store(first, tuple(folder for folder in folders if folder.is_dir()))


def swappers() -> list[str]:
    """The swappers whose files are installed, and cscs: without its files the node says how to get them."""
    installed = available(store())
    return installed if "cscs" in installed else [*installed, "cscs"]


def ready(image: Tensor, detector: object = None) -> pipeline.Models:
    """The networks that find and recognise faces, on the compute device, with memory left for one frame of the IMAGE. A
    model is given as a name, a Choice, or None for the bundled one."""
    (models,) = _together(image, detector=detector)
    return models


def ready_with(image: Tensor, swapper: object, detector: object = None) -> tuple[pipeline.Models, Swapper]:
    """As `ready`, and a swapper."""
    engine, models = _together(image, swapper=swapper, detector=detector)
    return models, engine


def ready_to_restore(
    image: Tensor, restorer: object = None, detector: object = None
) -> tuple[pipeline.Models, Restorer]:
    """As `ready`, and a restorer."""
    engine, models = _together(image, restorer=restorer, detector=detector)
    return models, engine


def ready_to_swap(
    image: Tensor, swapper: object, detector: object, restorer: object
) -> tuple[pipeline.Models, Swapper, Restorer]:
    """As `ready`, a swapper and a restorer."""
    engine, last, models = _together(image, swapper=swapper, restorer=restorer, detector=detector)
    return models, engine, last


def files() -> _Seen:
    """The state of all model files now. Networks are loaded again when it changes."""
    ours = store()
    found = []
    for path in iter_files(ours):
        if path.suffix in (".safetensors", ".onnx") and path.parent != ours.home / "identities":
            with contextlib.suppress(OSError):  # deleted since it was listed
                state = path.stat()
                found.append((str(path), state.st_size, state.st_mtime_ns))
    return tuple(found)


@classmethod
def fingerprint(cls: type, **inputs: object) -> str:
    """The `fingerprint_inputs` of nodes that name model files: it changes when such a file is added, removed or
    replaced, so that the host runs the node again."""
    return repr(files())


def _together(image: Tensor, **given: object) -> list[Any]:
    """Models by role, loaded together, because one by one the second could evict the first. All are on one device: that
    of the first Choice that was connected."""
    choices = [chosen(value, cast(Role, role), _DEFAULTS[cast(Role, role)]) for role, value in given.items()]
    devices = [choice.device for choice, value in zip(choices, given.values(), strict=True) if _wired(value)]
    seen = files()
    loaded = [_KEPT[choice.role](replace(choice, device=(devices or ["auto"])[0]), seen) for choice in choices]
    _load([handle for _, handles in loaded for handle in handles], image, len(loaded) > 1)
    return [model for model, _ in loaded]


def _wired(value: object) -> bool:
    return value is not None and not isinstance(value, str)


@functools.lru_cache(maxsize=2)
def _models(choice: Choice, seen: _Seen) -> tuple[pipeline.Models, _Handles]:
    """The networks that find and recognise faces, and the host's handles to them. The bundled ones, 20 MB, stay in
    memory once used."""
    with _without_inference_mode():
        models = pipeline.load_models("cpu", choice.name, store(), sessions=_device(choice))
    return models, _handles(models.networks, choice)


@functools.lru_cache(maxsize=1)
def _swapper(choice: Choice, seen: _Seen) -> tuple[Swapper, _Handles]:
    """The swapper used last, and the host's handles to its networks."""
    with _without_inference_mode():
        swapper = load_swapper(choice.name, store(), "cpu", sessions=_device(choice))
    return swapper, _handles(swapper.networks, choice)


@functools.lru_cache(maxsize=1)
def _restorer(choice: Choice, seen: _Seen) -> tuple[Restorer, _Handles]:
    """The restorer used last, and the host's handles to its network."""
    with _without_inference_mode():
        restorer = restorers.load_restorer(choice.name, store(), "cpu")
    return restorer, _handles(restorer.networks, choice)


_DEFAULTS: dict[Role, str] = {
    "detector": DEFAULT_DETECTOR,
    "swapper": DEFAULT_SWAPPER,
    "restorer": restorers.DEFAULT_RESTORER,
}
_KEPT: dict[Role, Callable[[Choice, _Seen], tuple[Any, _Handles]]] = {
    "detector": _models,
    "swapper": _swapper,
    "restorer": _restorer,
}


def _device(choice: Choice) -> torch.device:
    return torch.device("cpu") if choice.device == "cpu" else mm.get_torch_device()


def _handles(networks: Sequence[nn.Module], choice: Choice) -> _Handles:
    # Looked up late: the host replaces the class at startup. CoreModelPatcher came with ComfyUI 0.11.
    handle = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    rest = mm.unet_offload_device()
    for layer in (part for net in networks for part in net.modules() if not list(part.children())):
        layer.register_forward_pre_hook(_check_cancel)
    return [handle(net, load_device=_device(choice), offload_device=rest) for net in networks]


def _check_cancel(layer: nn.Module, inputs: object) -> None:
    """Checks for Cancel before every layer: on a CPU a whole network takes longer than people wait."""
    host.raise_if_cancelled()


@contextlib.contextmanager
def _without_inference_mode() -> Iterator[None]:
    """Nodes run in inference mode. Tensors made in it cannot be moved outside it later, when the host unloads
    models."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _load(handles: _Handles, image: Tensor, faces: bool) -> None:
    frame = image.shape[-3] * image.shape[-2] * 3 * 4  # bytes
    # 24 frames for the detector's first feature maps and the paste, 256 MiB for the crops of a crowd, and 1 GiB for
    # eight faces in a swapper or a restorer.
    room = 24 * frame + 2**28 + (2**30 if faces else 0)
    mm.load_models_gpu(handles, memory_required=room, force_full_load=True)
    for handle in handles:
        handle.model.to(handle.load_device)  # --novram does not move plain layers, even with force_full_load
