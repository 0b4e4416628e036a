"""A swapper out of the folder of a training run: the weights that the run kept, and the encoder that conditioned it.

    generator.safetensors   its metadata say the size of the pictures, and which encoder it was
    adapter.safetensors     a network like the encoder, or an IdAdapter of the release
    gate.safetensors        what joins the two, unless they are joined as in the release

The encoder itself stays where it is, and is known again by its weights.
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
    """What a run keeps, all of the same step."""

    generator: AEINet | SmallGenerator
    adapter: IResNet | IdentityEncoder
    gate: nn.Linear | None
    notes: dict[str, str]  # of the generator


def load_trained(folder: Path, store: Store, device: torch.device | str = "cpu") -> CSCSSwapper:
    """The swapper of a run. Raises BadInput if something of it is missing, or is of something else."""
    if not (folder / GENERATOR).is_file():
        raise BadInput(f"{folder}: has no {GENERATOR}, so it is no run of `cscs train`, or of one that has just begun")
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
    """The files of a run, or of the release, whose names have something before them: in evaluation mode, on the CPU."""
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
        raise BadInput(f"{places[0]}: takes identities of {z} numbers; encoder and adapter give {wanted}")
    notes = [weights.read(place)[1] for place in places]
    if len({each.get("step") for each in notes}) > 1:
        raise BadInput(
            f"{folder}: its files are of different steps; the run was killed while it wrote them, go on with it"
        )
    return Trained(generator, adapter, gate, notes[0])


def fingerprint(network: nn.Module) -> str:
    """What an encoder is known by: the sha256 of its weights as half floats, which is how files may store them."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        stored = value.half() if value.is_floating_point() else value
        digest.update(name.encode() + stored.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _gate(path: Path, width: int) -> nn.Linear:
    matrix = weights.read(path)[0].get("weight")
    if matrix is None or matrix.shape != (width, width):
        raise BadInput(f"{path}: is no gate of {width} x {width} numbers")
    gate = nn.Linear(width, width, bias=False, device="meta")
    gate.load_state_dict({"weight": matrix.float()}, assign=True)
    return gate.eval().requires_grad_(False)


def _encoder(folder: Path, notes: dict[str, str], store: Store) -> IResNet | IdentityEncoder:
    """The encoder of a run: in its folder, bundled, in the store, or where it was when the run began."""
    name, wanted = Path(notes.get("encoder", "")).name, notes.get("encoder_sha256")
    if not name or not wanted or not notes.get("size", "").isdigit():
        raise BadInput(f"{folder / GENERATOR}: does not say what it was trained with; `cscs train` writes that")
    places = [folder / name, weights.LITE / name, listing(store).get(name), _configured(folder)]
    here = [place for place in places if place is not None and place.is_file()]
    for place in here:
        network = weights.load_any(place)
        if isinstance(network, IResNet | IdentityEncoder) and fingerprint(network) == wanted:
            return network
    what = f"{here[0]} is another encoder than that" if here else "that is not here"
    raise BadInput(f"{folder}: was trained with the encoder {name}; {what}; put it into this folder")


def _configured(folder: Path) -> Path | None:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    place = found.get("encoder") if isinstance(found, dict) else None
    return Path(place) if isinstance(place, str) else None
