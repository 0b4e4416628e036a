"""Makes examples for the refiner: results of `warp` on proxies, whose correct result is known, and on pairs of people.

python -m cscs_core.train.refiner_data --data $CSCS_DATA --out runs/refiner/examples --proxies 4000 --pairs 3000

Shards are numbered from --first, and each has its own seed. Existing shards are not made again. Several processes may
run at once if their numbers do not overlap.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from ..faces.identity import embed_crops
from ..faces.landmarks import locate
from ..faces.swappers.base import editable_area
from ..faces.swappers.warp import WarpSwapper, nearest_pose
from ..io.files import placed
from ..ops.mesh import five
from ..pipeline import Models, load_models
from ..surrogates.adapt import AdaptOptions, adapt_randomly
from ..surrogates.source import source_surrogate
from ..surrogates.target import Judge, TargetOptions, target_surrogate
from ..types import Crops, Identity, join
from .people import People, crops_of, load_people

_SHARD = 32  # photographs per shard
_DONORS = 64
_WAYS = TargetOptions(donor=0.6, erased=0.15, swapper=0.25)
_SHAPED = AdaptOptions(face=0.3, parts=0.2, strength=0.7)  # targets: the refiner must restore the source's shape
_DRAWN = AdaptOptions(face=0.0, glasses=0.15, makeup=0.1)  # sources: glasses and make-up must not be carried over
_SAME = 0.5  # cosine from which two pictures may show the same person
_SURROGATE_SOURCES = (
    0.5  # share of sources in pairs that are replaced by surrogates, for more variety of light and camera
)
_GLASSES = AdaptOptions(face=0.0, glasses=1.0)  # a copy of the warped face, as if the source had worn glasses
_WORN = AdaptOptions(face=0.0, glasses=0.12)  # targets and truths: glasses must stay
log = logging.getLogger(__name__)


def photographs(people: People, rows: Tensor) -> Crops:
    """The crops of these people, pixels 0..1."""
    crops = crops_of(people)[rows]
    return replace(crops, pixels=crops.pixels.float() / 255, frame=torch.arange(len(rows)))


def proxies(people: People, rows: Tensor, models: Models, generator: Generator) -> dict[str, Tensor] | None:
    """Source surrogates warped onto target surrogates of the same photographs, which are the truth; None if all were
    rejected."""
    y = photographs(people, rows)
    donors = photographs(people, torch.randperm(len(people), generator=generator)[:_DONORS])
    first = source_surrogate(y, generator, encoder=models.encoder, least=0.5, others=donors)
    judge = Judge(models.encoder, 0.5, models.landmarks)
    warp = WarpSwapper()
    persons = [warp.encode(_person(donors[row : row + 1], models)) for row in range(8)]
    second = target_surrogate(y, donors, generator, _WAYS, judge, warp, persons)
    both = [row for row in first.rows.tolist() if row in set(second.rows.tolist())]
    if not both:
        return None
    source = first.crops[[first.rows.tolist().index(row) for row in both]]
    target = second.crops[[second.rows.tolist().index(row) for row in both]]
    source = adapt_randomly(source, generator, _DRAWN).crops
    target = adapt_randomly(target, generator, _SHAPED).crops
    truth = replace(y[both], mesh=target.mesh)
    seed = int(torch.randint(1 << 62, (1,), generator=generator))
    target, truth = (adapt_randomly(crops, Generator().manual_seed(seed), _WORN).crops for crops in (target, truth))
    return _make_tensors(source, target, truth.pixels, people.embedding[rows[both]], None, models, generator)


def pairs(people: People, rows: Tensor, models: Models, generator: Generator) -> dict[str, Tensor]:
    """Photographs of one person, or surrogates of them, warped onto photographs of another."""
    others = torch.randperm(len(people), generator=generator)[: len(rows)]
    apart = (people.embedding[rows] * people.embedding[others]).sum(-1) < _SAME
    rows, others = rows[apart], others[apart]
    source, target = photographs(people, rows), photographs(people, others)
    changed = source_surrogate(source, generator, encoder=models.encoder, others=target)
    use = torch.rand(len(changed), generator=generator) < _SURROGATE_SOURCES
    changed = changed[use]
    kept = [row for row in range(len(source)) if row not in set(changed.rows.tolist())]
    order = torch.cat([changed.rows, torch.tensor(kept, dtype=torch.long)]).argsort()
    source = join([changed.crops, source[kept]])[order]
    return _make_tensors(
        source, target, target.pixels, people.embedding[rows], people.embedding[others], models, generator
    )


def _person(crops: Crops, models: Models) -> Identity:
    return Identity(crops, embed_crops(crops, models.encoder), torch.ones(len(crops)))


def _make_tensors(
    source: Crops,
    target: Crops,
    truth: Tensor,
    identity: Tensor,
    other: Tensor | None,
    models: Models,
    generator: Generator,
) -> dict[str, Tensor]:
    """The tensors of a shard. For pairs, whose truth is only the target, `other` are the embeddings of the targets."""
    source, target = _relocate(source, models), _relocate(target, models)
    warp = WarpSwapper()
    # One face at a time, which fits into the CPU's cache.
    ones = [(source[row : row + 1], target[row : row + 1]) for row in range(len(source))]
    laid = [warp.onto(one, *nearest_pose(one.mesh, photo)).pixels for photo, one in ones]
    return {
        "target": _to_uint8(target.pixels),
        "laid": _to_uint8(torch.cat(laid)),
        "worn": _to_uint8(adapt_randomly(replace(target, pixels=torch.cat(laid)), generator, _GLASSES).crops.pixels),
        "truth": _to_uint8(truth),
        "region": _to_uint8(editable_area(target)),
        "points": target.landmarks,
        "known": torch.full((len(source),), other is None),
        "z": embed_crops(source, models.encoder),
        "identity": identity,
        "other": torch.zeros_like(identity) if other is None else other,
    }


def _relocate(crops: Crops, models: Models) -> Crops:
    """The crops with landmarks located by the network, as in a real swap."""
    mesh = locate(crops.pixels, torch.arange(len(crops)), crops.landmarks, models.landmarks)
    return replace(crops, mesh=mesh, landmarks=five(mesh))


def _to_uint8(pixels: Tensor) -> Tensor:
    return pixels.clamp(0, 1).mul(255).round().to(torch.uint8)


def load_examples(folder: Path) -> dict[str, Tensor]:
    """All shards of a folder joined."""
    shards = [load_file(file) for file in sorted(folder.glob("*.safetensors"))]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/refiner/examples"))
    parser.add_argument("--split", default="train", choices=("train", "validation"))
    parser.add_argument(
        "--proxies", type=int, default=4000, help="photographs to make proxies from; about half succeed"
    )
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    people, models = load_people(arguments.data, arguments.split), load_models()
    todo = [("proxy", proxies)] * -(-arguments.proxies // _SHARD) + [("pair", pairs)] * -(-arguments.pairs // _SHARD)
    shuffled = torch.randperm(len(todo), generator=Generator().manual_seed(arguments.first)).tolist()
    for number, place in enumerate(shuffled, arguments.first):
        name, make = todo[place]
        path = arguments.out / f"{number:05d}_{name}.safetensors"
        if path.exists():
            continue
        generator = Generator().manual_seed(number)
        rows = torch.multinomial(people.weight, _SHARD, generator=generator)
        with torch.inference_mode():
            shard = make(people, rows, models, generator)
        if shard is None:
            continue
        with placed(path) as beside:
            save_file({name: value.contiguous() for name, value in shard.items()}, beside)
        log.info("%s: %d of %d", path.name, len(shard["known"]), _SHARD)


if __name__ == "__main__":
    main()
