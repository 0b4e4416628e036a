"""Converts pickles and ONNX files to safetensors whose metadata names the architecture."""

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
from .onnx.cscs_weights import Config, recognised
from .onnx.dataflow import trace
from .onnx.layers import State, Unlike
from .onnx.names import described
from .onnx.reader import OnnxGraph, read_onnx
from .onnx.torch_graph import torch_graph
from .registry import MODELS, ModelSpec
from .store import sha256

_PICKLES = (".pth.tar", ".pth", ".pt", ".ckpt")
_SUFFIXES = (*_PICKLES, ".onnx", ".safetensors")
_FILES = {AEIConfig: "cscs_generator", IResNetConfig: "cscs_encoder", IdAdapterConfig: "cscs_adapter"}


@dataclass(frozen=True)
class Network:
    """Weights read from a file; `config` is None if we cannot build the network."""

    tensors: State
    config: Any = None  # a config of models.ARCHITECTURES
    notes: Mapping[str, str] = field(default_factory=dict)  # the metadata of the file
    what: str = ""  # a remark for the user


def convert(
    path: Path,
    folder: Path,
    adapter: str | None = None,
    dtype: torch.dtype = torch.float32,
    licence: str | None = None,
    keep: Collection[Path] = (),
) -> dict[Path, str]:
    """Writes the networks of a file as safetensors into a folder; returns a description of each file written.

    `adapter`, concat or replace, is the kind of an ID adapter whose file does not tell. `dtype` is that of the stored
    weights. Files in `keep` are not overwritten. Raises BadInput as `read_networks` does, and if writing fails.
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
            raise BadInput(f"{path}: would overwrite {target}, an input or a file just written; choose another folder")
        check_writable(target)
        if target.is_file() and not _made_from(target, digest):
            raise BadInput(
                f"{path}: {target} exists and was made from another file; delete it or choose another folder"
            )
        _write(path, target, network, dtype, {**network.notes, **notes})
        made[target] = ", ".join(filter(None, (_description(network.config), network.what)))
    return made


def read_networks(path: Path, adapter: str | None = None) -> list[Network]:
    """Reads the networks of a pickle, ONNX or safetensors file and recognises them by their weights.

    `adapter` as in `convert`. Raises BadInput if the file is damaged, has no weights or more than weights, or is an
    ONNX file of an unknown network with operators that are not supported.
    """
    name = path.name.lower()
    if name.endswith(".onnx"):
        return [_from_onnx(path, adapter)]
    if name.endswith(".safetensors"):
        return [_from_safetensors(path, adapter)]
    if not name.endswith(_PICKLES):
        raise BadInput(f"{path}: has none of the suffixes {', '.join(_SUFFIXES)}")
    states = pickles.read(path)
    if not states.keys() & set(pickles.CSCS):
        return [Network(state, _config(state, adapter)) for state in states.values()]
    found = [Network(state, _config(state, adapter)) for key, state in states.items() if key == "G"]
    if found and not isinstance(found[0].config, AEIConfig):
        raise BadInput(f"{path}: its G is not the CSCS generator")
    if "adapter" in states:
        wide = any(isinstance(network.config, AEIConfig) and network.config.identity == 1024 for network in found)
        config = _config(states["adapter"], "concat" if wide else adapter)
        if isinstance(config, IResNetConfig):
            raise BadInput(f"{path}: its adapter has no adapter_block; pass --adapter concat or --adapter replace")
        if not isinstance(config, IdAdapterConfig):
            raise BadInput(f"{path}: its adapter is not an IResNet")
        found.append(Network(states["adapter"], config))
    return found


def _from_onnx(path: Path, adapter: str | None) -> Network:
    graph = read_onnx(path)
    try:
        config, state = recognised(trace(graph))
    except Unlike as unlike:
        return _graph_network(graph, f"{described(graph)} (neither a CSCS network nor an IResNet: it has {unlike})")
    if adapter and isinstance(config, IResNetConfig):
        config = IdAdapterConfig(adapter, config.depth, config.embedding)
    return Network(state, config)


def _graph_network(graph: OnnxGraph, seems: str) -> Network:
    """Any other ONNX file as a graph; `seems` describes its network. Raises BadInput for unsupported operators."""
    try:
        config, tensors = torch_graph(graph)
    except BadInput as error:
        raise BadInput(f"{error}; it looks like {seems}") from None
    return Network(tensors, config, what=seems)


def _from_safetensors(path: Path, adapter: str | None) -> Network:
    try:
        with safe_open(path, "pt") as file:
            names, notes = list(file.keys()), file.metadata() or {}
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: is damaged or not a safetensors file ({one_line(error)}); fetch it again") from None
    return Network(state, None if "arch" in notes else _config(state, adapter), notes)


def _config(state: State, adapter: str | None) -> Config | None:
    """The config that the names of the weights match, if any. An IResNet is an adapter if it has an adapter_block or if
    `adapter` is given."""
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
    tensors = _cast(path, network.tensors, dtype)
    try:
        if network.config is None:
            weights.write(target, tensors, notes)
        else:
            weights.save_model(target, _build(path, network.config, tensors), dtype, **notes)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{target}: cannot be written ({one_line(error)})") from None


def _cast(path: Path, tensors: State, dtype: torch.dtype) -> State:
    """Casts floating-point tensors to `dtype` and gives each its own memory. Raises BadInput for NaN and infinities."""
    cast: State = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise BadInput(f"{path}: {name!r} is not a plain tensor of real numbers")
        value = value.detach()
        if value.is_floating_point():
            value = value.to(dtype)
            if value.numel() and not torch.stack(value.aminmax()).isfinite().all():
                large = dtype == torch.float16 and bool(tensors[name].isfinite().all())
                wrong = "values too large for --half" if large else "NaN or infinite values"
                raise BadInput(f"{path}: {name!r} has {wrong}")
        memory = value.untyped_storage().data_ptr()
        cast[name] = value.clone() if memory in seen else value
        seen.add(memory)
    return cast


def _build(path: Path, config: Any, tensors: State) -> nn.Module:
    """The model with these weights. Raises BadInput if they do not fit."""
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
    """The file stem under which the loaders look: fixed for CSCS networks, as published for other registered models."""
    if spec and spec.name not in _FILES.values():
        return Path(spec.file).stem
    if spec is None and isinstance(config, IResNetConfig):  # any IResNet: only a registered file is the CSCS encoder
        return _stem(path)
    return _FILES.get(type(config)) or _stem(path)


def _made_from(target: Path, digest: str) -> bool:
    """Whether `target` was converted from the file with this sha256; also True for a damaged file, to replace it."""
    try:
        with safe_open(target, "pt") as file:
            return (file.metadata() or {}).get("converted_from_sha256") == digest
    except (SafetensorError, OSError):
        return True


def _description(config: Any) -> str:
    if config is None:
        return "weights of an unknown network, kept as they are"
    options = asdict(config).items() if type(config) in _FILES else ()
    return ", ".join([_architecture(config)[0], *(f"{name} {value}" for name, value in options)])


def _stem(path: Path) -> str:
    """The file name without its suffix, including .pth.tar."""
    suffix = next(suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]
