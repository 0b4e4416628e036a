"""A swapper from the folder of a training run: the weights of the run, and the encoder that it was trained with.

    generator.safetensors   its metadata give the crop size and the encoder
    adapter.safetensors     a network like the encoder, or an IdAdapter of the release
    gate.safetensors        joins the two, unless the adapter is an IdAdapter

The encoder is not copied into the folder; it is recognised by the hash of its weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ...hub import weights
from ...hub.store import Store, listing
from ...io.files import BadInput
from ...models import AEINet, FusedAEINet, IdAdapter, IdentityEncoder, IResNet, SmallGenerator, for_inference
from .cscs import CSCSSwapper

GENERATOR, ADAPTER, GATE = (f"{name}.safetensors" for name in ("generator", "adapter", "gate"))


@dataclass(frozen=True)
class Trained:
    """The networks of a run, all from the same step."""

    generator: AEINet | SmallGenerator
    adapter: IResNet | IdentityEncoder
    gate: nn.Linear | None
    notes: dict[str, str]  # metadata of the generator's file


def load_trained(folder: Path, store: Store, device: torch.device | str = "cpu") -> CSCSSwapper:
    """The swapper of a training run. Raises BadInput if a file or the encoder is missing, or does not fit."""
    if not (folder / GENERATOR).is_file():
        raise BadInput(
            f"{folder}: has no {GENERATOR}; it is not a run of `cscs train`, or has not written its first checkpoint"
        )
    trained = load_networks(folder)
    encoder = _encoder(folder, trained.notes, store)
    generator = trained.generator.to(device)
    return CSCSSwapper(
        FusedAEINet(generator) if isinstance(generator, AEINet) else for_inference(generator),
        for_inference(encoder.to(device)),
        for_inference(trained.adapter.to(device)),
        sizes=(int(trained.notes["size"]),),
        gate=trained.gate.to(device) if trained.gate else None,
    )


def load_networks(folder: Path, before: str = "") -> Trained:
    """The networks of a run, or of a release whose file names have the prefix `before`, in evaluation mode on the CPU.
    Raises BadInput if a file is missing or the files do not fit together."""
    places = [folder / f"{before}{name}" for name in (GENERATOR, ADAPTER)]
    generator = weights.load_model(places[0], (AEINet, SmallGenerator))
    adapter = weights.load_model(places[1], (IResNet, IdAdapter, IdentityEncoder))
    width = adapter.config.embedding
    gate = None
    if not isinstance(adapter, IdAdapter):
        places.append(folder / GATE)
        gate = _gate(places[-1], width)
    wanted = 2 * width if isinstance(adapter, IdAdapter) and adapter.config.kind == "concat" else width
    if (z := generator.config.identity) != wanted:
        raise BadInput(f"{places[0]}: takes identity vectors of length {z}, but encoder and adapter give {wanted}")
    notes = [weights.read(place)[1] for place in places]
    if len({each.get("step") for each in notes}) > 1:
        raise BadInput(
            f"{folder}: its files are from different steps, because the run was killed while writing; resume the run"
        )
    return Trained(generator, adapter, gate, notes[0])


def fingerprint(network: nn.Module) -> str:
    """The hash by which an encoder is recognised: the sha256 of its weights in float16, as files may store them."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        stored = value.half() if value.is_floating_point() else value
        digest.update(name.encode() + stored.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _gate(path: Path, width: int) -> nn.Linear:
    matrix = weights.read(path)[0].get("weight")
    if matrix is None or matrix.shape != (width, width):
        raise BadInput(f"{path}: is not a gate; it must hold a matrix named weight, {width} x {width}")
    gate = nn.Linear(width, width, bias=False, device="meta")
    gate.load_state_dict({"weight": matrix.float()}, assign=True)
    return gate.eval().requires_grad_(False)


def _encoder(folder: Path, notes: dict[str, str], store: Store) -> IResNet | IdentityEncoder:
    """The encoder of a run: from its folder, the bundled weights, the store, or its path when the run began."""
    name, wanted = Path(notes.get("encoder", "")).name, notes.get("encoder_sha256")
    if not name or not wanted or not notes.get("size", "").isdigit():
        raise BadInput(
            f"{folder / GENERATOR}: its metadata do not name the encoder it was trained with, as `cscs train` does"
        )
    places = [folder / name, weights.LITE / name, listing(store).get(name), _encoder_in_config(folder)]
    here = [place for place in places if place is not None and place.is_file()]
    for place in here:
        network = weights.load_any(place)
        if isinstance(network, IResNet | IdentityEncoder) and fingerprint(network) == wanted:
            return network
    what = f"{here[0]} has other weights" if here else "that file was not found"
    raise BadInput(f"{folder}: was trained with the encoder {name}; {what}; put the encoder into this folder")


def _encoder_in_config(folder: Path) -> Path | None:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    place = found.get("encoder") if isinstance(found, dict) else None
    return Path(place) if isinstance(place, str) else None
