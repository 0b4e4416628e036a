"""The weights of pickles and ONNX files made into safetensors that say what they are."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ..io.files import BadInput, check_writable, one_line
from ..models import ARCHITECTURES
from ..models.adapter import IdAdapterConfig
from ..models.aei import AEIConfig
from ..models.iresnet import DEPTHS, IResNetConfig
from . import pickles, weights
from .onnx import cscs_weights, dataflow
from .onnx import names as onnx_names
from .onnx import reader as onnx_graph
from .onnx.cscs_weights import Config
from .onnx.layers import State, Unlike
from .registry import MODELS, ModelSpec
from .store import sha256

_PICKLES = (".pth.tar", ".pth", ".pt", ".ckpt")
_SUFFIXES = (*_PICKLES, ".onnx", ".safetensors")
_FILES = {AEIConfig: "cscs_generator", IResNetConfig: "cscs_encoder", IdAdapterConfig: "cscs_adapter"}


@dataclass(frozen=True)
class Network:
    """Weights out of a file; those of a network that we cannot build have no configuration."""

    tensors: State
    config: Any = None  # one of models.ARCHITECTURES, which its type names
    notes: Mapping[str, str] = field(default_factory=dict)  # what the file said of itself
    what: str = ""  # what is to be said besides


def convert(
    path: Path,
    folder: Path,
    adapter: str | None = None,
    dtype: torch.dtype = torch.float32,
    licence: str | None = None,
    keep: Collection[Path] = (),
) -> dict[Path, str]:
    """The networks of a file as safetensors in a folder: what was written, and what each is.

    `adapter` is the kind of an ID adapter that does not show its own, concat or replace; files in `keep` are not
    overwritten. Raises BadInput as `read_networks` does, and if something cannot be written.
    """
    try:
        digest = sha256(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    spec = next((spec for spec in MODELS.values() if spec.sha256 == digest), None)
    notes = {"converted_from": path.name, "converted_from_sha256": digest}
    if licence := licence or (spec.licence if spec else None):
        notes["licence"] = licence
    made: dict[Path, str] = {}
    for network in read_networks(path, adapter):
        target = folder / f"{_name(path, network.config, spec)}.safetensors"
        if os.path.realpath(target) in {os.path.realpath(file) for file in (path, *keep, *made)}:
            raise BadInput(f"{path}: would overwrite {target}, which was given or just made; choose another folder")
        check_writable(target)
        if target.is_file() and not _made_from(target, digest):
            raise BadInput(f"{path}: {target} is there already, of another file; remove it or choose another folder")
        _write(path, target, network, dtype, {**network.notes, **notes})
        made[target] = ", ".join(filter(None, (_described(network.config), network.what)))
    return made


def read_networks(path: Path, adapter: str | None = None) -> list[Network]:
    """The networks in a pickle, an ONNX file or a safetensors file, recognised by what is in it; see `convert`.

    Raises BadInput, in one line, for files that are damaged, hold no weights or more than weights, or are the ONNX file
    of a network that is none of ours and does not run as a graph either.
    """
    name = path.name.lower()
    if name.endswith(".onnx"):
        return [_from_onnx(path, adapter)]
    if name.endswith(".safetensors"):
        return [_from_safetensors(path, adapter)]
    if not name.endswith(_PICKLES):
        raise BadInput(f"{path}: is none of {', '.join(_SUFFIXES)}")
    states = pickles.read(path)
    if not states.keys() & set(pickles.CSCS):
        return [Network(state, _config(state, adapter)) for state in states.values()]
    found = [Network(state, _config(state, adapter)) for key, state in states.items() if key == "G"]
    if found and not isinstance(found[0].config, AEIConfig):
        raise BadInput(f"{path}: its G is not the generator of CSCS")
    if "adapter" in states:
        wide = any(isinstance(network.config, AEIConfig) and network.config.identity == 1024 for network in found)
        config = _config(states["adapter"], "concat" if wide else adapter)
        if isinstance(config, IResNetConfig):
            raise BadInput(f"{path}: its adapter has no adapter_block; say --adapter concat or --adapter replace")
        if not isinstance(config, IdAdapterConfig):
            raise BadInput(f"{path}: its adapter is not an IResNet")
        found.append(Network(states["adapter"], config))
    return found


def other_network(path: Path, seems: str) -> Network:
    """The network of an ONNX file that is none of ours, as the graph that it is."""
    try:
        config, tensors = onnx_graph.read_graph(path)
    except BadInput as error:
        raise BadInput(f"{error}; it seems to be {seems}") from None
    return Network(tensors, config, what=seems)


def _from_onnx(path: Path, adapter: str | None) -> Network:
    found = _recognised(path)
    if isinstance(found, str):
        return other_network(path, found)
    config, state = found
    if adapter and isinstance(config, IResNetConfig):
        config = IdAdapterConfig(adapter, config.depth, config.embedding)
    return Network(state, config)


def _recognised(path: Path) -> tuple[Config, State] | str:
    """A network of ours, or of another one what it seems to be and why it is none of ours."""
    graph = dataflow.read(path)
    try:
        return cscs_weights.recognised(graph)
    except Unlike as unlike:
        return f"{onnx_names.described(graph)} (neither of CSCS nor an IResNet: it has {unlike})"


def _from_safetensors(path: Path, adapter: str | None) -> Network:
    try:
        with safe_open(path, "pt") as file:
            names, notes = list(file.keys()), file.metadata() or {}
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: is damaged or no safetensors file ({one_line(error)}); fetch it again") from None
    return Network(state, None if "arch" in notes else _config(state, adapter), notes)


def _config(state: State, adapter: str | None) -> Config | None:
    """What weights are of, by their names; an IResNet is an adapter if it looks like one or if `adapter` says so."""
    first = state.get("generator.AADBlk1.AAD1.fc1.weight")
    if first is not None and first.ndim == 2:
        return AEIConfig(first.shape[1])
    last = state.get("fc.weight")
    if last is None or last.ndim != 2 or not {"layer1.0.prelu.weight", "features.weight"} <= state.keys():
        return None
    stages = tuple(len({name.split(".")[1] for name in state if name.startswith(f"layer{n}.")}) for n in range(1, 5))
    depth = next((depth for depth, counts in DEPTHS.items() if counts == stages), None)
    if depth is None:
        return None
    kind = "add" if "adapter_block.weight" in state else adapter
    return IdAdapterConfig(kind, depth, last.shape[0]) if kind else IResNetConfig(depth, last.shape[0])


def _write(path: Path, target: Path, network: Network, dtype: torch.dtype, notes: dict[str, str]) -> None:
    tensors = _typed(path, network.tensors, dtype)
    try:
        if network.config is None:
            weights.write(target, tensors, notes)
        else:
            weights.save_model(target, _built(path, network.config, tensors), dtype, **notes)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{target}: cannot be written ({one_line(error)})") from None


def _typed(path: Path, tensors: State, dtype: torch.dtype) -> State:
    """Floating-point numbers in the one type; each tensor with memory of its own."""
    typed: State = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise BadInput(f"{path}: {name!r} is not a plain tensor of real numbers")
        value = value.detach()
        if value.is_floating_point():
            value = value.to(dtype)
            if value.numel() and not torch.stack(value.aminmax()).isfinite().all():
                large = dtype == torch.float16 and bool(tensors[name].isfinite().all())
                wrong = "numbers too large for --half" if large else "NaN or infinite numbers"
                raise BadInput(f"{path}: {name!r} holds {wrong}")
        memory = value.untyped_storage().data_ptr()
        typed[name] = value.clone() if memory in seen else value
        seen.add(memory)
    return typed


def _built(path: Path, config: Any, tensors: State) -> nn.Module:
    arch, build = _architecture(config)
    with torch.device("meta"):
        model = build(config)
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise BadInput(f"{path}: does not fit {arch} ({one_line(error)})") from None
    return model


def _architecture(config: Any) -> tuple[str, type[nn.Module]]:
    return next((arch, build) for arch, (kind, build) in ARCHITECTURES.items() if kind is type(config))


def _name(path: Path, config: Any, spec: ModelSpec | None) -> str:
    """What those who look for the file call it: networks of CSCS as such, others that are published as published."""
    if spec and spec.name not in _FILES.values():
        return Path(spec.file).stem
    if spec is None and isinstance(config, IResNetConfig):  # anybody's: only a file that we know is the one of CSCS
        return _stem(path)
    return _FILES.get(type(config)) or _stem(path)


def _made_from(target: Path, digest: str) -> bool:
    """Whether a file was made by converting the file with this sha256; a damaged one may be made again."""
    try:
        with safe_open(target, "pt") as file:
            return (file.metadata() or {}).get("converted_from_sha256") == digest
    except (SafetensorError, OSError):
        return True


def _described(config: Any) -> str:
    if config is None:
        return "weights as they are, of no network that is known here"
    options = asdict(config).items() if type(config) in _FILES else ()
    return ", ".join([_architecture(config)[0], *(f"{name} {value}" for name, value in options)])


def _stem(path: Path) -> str:
    """The name without its suffix, also one such as .pth.tar."""
    suffix = next(suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]
