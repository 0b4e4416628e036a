"""Networks as ComfyUI's memory manager knows them: loaded by name, kept while the files are the same, moved by it."""

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
from comfy_api.latest import io
from torch import Tensor, nn

from ..cscs_core import pipeline
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR, detectors
from ..cscs_core.faces.restorers import catalogue as restorers
from ..cscs_core.faces.restorers.base import Restorer
from ..cscs_core.faces.swappers.base import Swapper
from ..cscs_core.faces.swappers.catalogue import DEFAULT_SWAPPER, available, load_swapper
from ..cscs_core.hub.store import Store, default_store, iter_files
from . import host

Role = Literal["detector", "swapper", "restorer"]
DEVICES = ("auto", "cpu")  # where ComfyUI computes, or the processor

_Handles = list[comfy.model_patcher.ModelPatcher]
_Seen = tuple[tuple[str, int, int], ...]  # paths, sizes and times of files
_NEIGHBOURS = ("insightface", "reactor", "reswapper", "hyperswap", "facefusion")  # folders of other packs in models/


@dataclass(frozen=True, slots=True)
class Choice:
    """A model by its name, as Load Model gives it away: it is loaded when a node needs it."""

    role: Role
    name: str
    device: str = "auto"  # one of DEVICES


def chosen(value: object, role: Role, default: str) -> Choice:
    """What a node was given for a model, nothing, a name or a Choice (of any copy of this pack), as a Choice."""
    if value is None or isinstance(value, str):
        return Choice(role, value or default)
    kind, name, device = (getattr(value, part, None) for part in ("role", "name", "device"))
    if kind != role or not isinstance(name, str) or device not in DEVICES:
        what = kind if isinstance(kind, str) and kind != role else type(value).__name__
        raise ValueError(f"{role} holds a {what}; connect the {role} output of Load Model (CSCS)")
    return Choice(role, name, device)


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
        default=DEFAULT_DETECTOR,
        optional=True,
        tooltip="What finds the faces. lite is bundled. buffalo_l, antelopev2 and other insightface packs in "
        "models/insightface find smaller and more turned faces; they need insightface and onnxruntime and are for "
        "non-commercial research.",
    )


def swappers() -> list[str]:
    """The swappers whose files are there, and cscs: without its files the node says how to get them."""
    there = available(store())
    return there if "cscs" in there else [*there, "cscs"]


def ready(image: Tensor, detector: object = None) -> pipeline.Models:
    """What finds faces, ready on the device that computes, with room there for one frame of the IMAGE. A model is given
    as a name, a Choice, or None for the bundled one."""
    (finder,) = _together(image, detector=detector)
    return finder


def ready_with(image: Tensor, swapper: object, detector: object = None) -> tuple[pipeline.Models, Swapper]:
    """The same and a swapper."""
    engine, finder = _together(image, swapper=swapper, detector=detector)
    return finder, engine


def ready_to_restore(
    image: Tensor, restorer: object = None, detector: object = None
) -> tuple[pipeline.Models, Restorer]:
    """What finds faces and a restorer."""
    engine, finder = _together(image, restorer=restorer, detector=detector)
    return finder, engine


def ready_to_swap(
    image: Tensor, swapper: object, detector: object, restorer: object
) -> tuple[pipeline.Models, Swapper, Restorer]:
    """All of them."""
    engine, last, finder = _together(image, swapper=swapper, restorer=restorer, detector=detector)
    return finder, engine, last


def files() -> _Seen:
    """The files that models are read from, as they are now: what was exchanged or deleted is loaded anew."""
    ours = store()
    found = []
    for path in iter_files(ours):
        if path.suffix in (".safetensors", ".onnx") and path.parent != ours.home / "identities":
            with contextlib.suppress(OSError):  # gone between two looks
                state = path.stat()
                found.append((str(path), state.st_size, state.st_mtime_ns))
    return tuple(found)


def _together(image: Tensor, **given: object) -> list[Any]:
    """Models by their roles, loaded together, since one by one the second might push out the first; all on one device,
    that of the first for which one was chosen."""
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
    """The networks that find faces and tell people apart, and the host's handles to them; 20 MB if bundled, which stay
    in memory once used."""
    with _ordinary():
        models = pipeline.load_models("cpu", choice.name, store(), sessions=_device(choice))
    return models, _handles(models.networks, choice)


@functools.lru_cache(maxsize=1)
def _swapper(choice: Choice, seen: _Seen) -> tuple[Swapper, _Handles]:
    """The swapper used last and the host's handles to its networks."""
    with _ordinary():
        swapper = load_swapper(choice.name, store(), "cpu", sessions=_device(choice))
    return swapper, _handles(swapper.networks, choice)


@functools.lru_cache(maxsize=1)
def _restorer(choice: Choice, seen: _Seen) -> tuple[Restorer, _Handles]:
    """The restorer used last and the host's handles to its network."""
    with _ordinary():
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
    # Looked up late: the host swaps the class at start. CoreModelPatcher came with ComfyUI 0.11.
    handle = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    rest = mm.unet_offload_device()
    for layer in (part for net in networks for part in net.modules() if not list(part.children())):
        layer.register_forward_pre_hook(_obey)
    return [handle(net, load_device=_device(choice), offload_device=rest) for net in networks]


def _obey(layer: nn.Module, inputs: object) -> None:
    """Cancel is asked for before every layer: on a processor a whole network takes longer than people wait."""
    host.raise_if_cancelled()


@contextlib.contextmanager
def _ordinary() -> Iterator[None]:
    """Nodes run in inference mode; what is made there cannot be moved outside, where the host unloads models."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _load(handles: _Handles, image: Tensor, faces: bool) -> None:
    frame = image.shape[-3] * image.shape[-2] * 3 * 4  # bytes
    # Two dozen frames for the detector's first maps and the paste, 256 MiB for the crops of a crowd, and a gigabyte for
    # eight faces in a swapper or a restorer.
    room = 24 * frame + 2**28 + (2**30 if faces else 0)
    mm.load_models_gpu(handles, memory_required=room, force_full_load=True)
    for handle in handles:
        handle.model.to(handle.load_device)  # --novram leaves plain layers behind even with force_full_load
