"""Trains the refiner of the `lite` swapper on the examples of `refiner_data`: first on proxies, then also on pairs of
two people.

python -m cscs_core.train.refiner --data $CSCS_DATA --run runs/refiner/first --only-proxies --minutes 8
python -m cscs_core.train.refiner --data $CSCS_DATA --run runs/refiner/second --start runs/refiner/first \\
    --minutes 40 --batch 8 --rate 1.5e-3

For proxies the correct result is known: pixels, coarse means and the features of a perceptual network must match the
photograph. For pairs of two people it is not: the loss asks for the identity, as seen by a recogniser, and for little
other change.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor, nn

from ..faces.swappers.lite import LEFT, SIDE, TOP, refiner_window
from ..hub import weights
from ..models import Refiner
from ..ops import geometry
from . import augment
from .loop import Schedule, fit
from .refiner_data import load_examples

_ARCFACE = 112  # px
_WINDOW = 96  # px, side of the window for the perceptual network
_COARSE = (4, 16)  # px, sides of the squares whose means are compared
_WITH_GLASSES = 0.35  # share of warped faces with drawn glasses, which the refiner must remove
_HELD_OUT = 64  # examples of each kind
_FILE = "refiner.safetensors"


class Teachers:
    """Recogniser A and the perceptual network, frozen."""

    def __init__(self, folder: Path):
        self.recogniser = torch.jit.load(folder / "recogniser_a.pt").eval()
        self.features = torch.jit.load(folder / "squeezenet_features.pt").eval()

    def identity(self, pictures: Tensor, points: Tensor, generator: Generator | None = None) -> Tensor:
        """Unit embeddings (N, 128) of crops (N, 3, S, S) 0..1 with five points (N, 5, 2). With a generator the
        alignment is jittered, so that no fixed pattern can fool the recogniser."""
        matrix = geometry.similarity(points, geometry.template("arcface_112_v2", _ARCFACE)[None])
        if generator is not None:
            matrix = geometry.compose(matrix, augment.jitter(len(points), _ARCFACE, 5, 1.05, 0.02, generator))
        # 2 x 2 samples per pixel, because the crops shrink by about a factor of 2.
        grid = geometry.pixel_grid(_ARCFACE, _ARCFACE, samples=2).view(1, -1, 2)
        places = geometry.transform(grid, geometry.invert(matrix)).view(-1, 2 * _ARCFACE, 2 * _ARCFACE, 2)
        crops = nnf.avg_pool2d(geometry.sample(pictures, places), 2)
        return nnf.normalize(self.recogniser(crops).float(), dim=-1)

    def apart(self, pictures: Tensor, truth: Tensor, generator: Generator | None = None) -> Tensor:
        """Perceptual distance (Zhang et al. 2018, with equal weights) in a window at the centre, or with a generator at
        a random place, (N, 3, S, S) 0..1 twice -> (N,)."""
        room = pictures.shape[-1] - _WINDOW
        x, y = room // 2, room // 2
        if generator is not None:
            x, y = torch.randint(room + 1, (2,), generator=generator).tolist()
        window = (..., slice(y, y + _WINDOW), slice(x, x + _WINDOW))
        with torch.no_grad():
            wanted = self.features(truth[window])
        found = self.features(pictures[window])
        each = (
            (nnf.normalize(one.float()) - nnf.normalize(other.float())).square().sum(1).mean((1, 2))
            for one, other in zip(found, wanted, strict=True)
        )
        return torch.stack(list(each)).sum(0)


def examples(all_of_them: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The refiner's inputs for some rows of the examples, images 0..1."""
    chosen = {name: value[rows] for name, value in all_of_them.items()}
    chosen["points"] = chosen["points"] - torch.tensor([LEFT, TOP])
    chosen |= {name: refiner_window(value) for name, value in chosen.items() if value.dtype == torch.uint8}
    return {name: value.float() / 255 if value.dtype == torch.uint8 else value for name, value in chosen.items()}


@torch.no_grad()
def judged(all_of_them: dict[str, Tensor], teachers: Teachers) -> dict[str, Tensor]:
    """The examples with embeddings recomputed from their truths instead of the original photographs: `identity` of
    proxies, `other` of pairs."""
    rows = torch.arange(len(all_of_them["known"])).split(16)
    parts = (examples(all_of_them, some) for some in rows)
    own = torch.cat([teachers.identity(part["truth"], part["points"]) for part in parts])
    known = all_of_them["known"][:, None]
    identity, other = (all_of_them[name] for name in ("identity", "other"))
    return all_of_them | {"identity": own.where(known, identity), "other": other.where(known, own)}


def varied(batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """The batch augmented by mirroring and light; some of the warped faces get drawn glasses."""
    count = len(batch["known"])
    wears = augment.often(count, _WITH_GLASSES, generator).view(-1, 1, 1, 1)
    batch = batch | {"laid": torch.where(wears, batch["worn"], batch["laid"]), "bare": batch["laid"]}
    flip = augment.often(count, 0.5, generator)
    gain = torch.exp(0.12 * torch.randn(count, 3, 1, 1, generator=generator))
    out = dict(batch)
    for name in ("target", "laid", "bare", "truth"):
        out[name] = (batch[name] * gain).clamp(0, 1)
    for name in ("target", "laid", "bare", "truth", "region"):
        out[name] = torch.where(flip.view(-1, 1, 1, 1), out[name].flip(-1), out[name])
    mirrored = batch["points"][:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([SIDE - 1.0, 0.0])
    out["points"] = torch.where(flip.view(-1, 1, 1), mirrored, batch["points"])
    return out


def over(values: Tensor, region: Tensor) -> Tensor:
    """Mean absolute value over a region, (N, C, S, S), (N, 1, S, S) -> (N,)."""
    return (values.abs() * region).sum((1, 2, 3)) / (values.shape[1] * region.sum((1, 2, 3)).clamp_min(1))


def losses(refiner: nn.Module, teachers: Teachers, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """The named loss terms of one batch."""
    with torch.autocast("cpu", torch.bfloat16):
        change = refiner(batch["target"], batch["laid"], batch["region"], batch["z"]).float()
    known = batch["known"]
    terms = {"range": 10 * over((batch["laid"] + change - 0.5).abs().sub(0.5).clamp_min(0), batch["region"]).mean()}
    for sort, chosen in ((_proxy_terms, known), (_pair_terms, ~known)):
        if chosen.any():
            some = {name: value[chosen] for name, value in batch.items()}
            terms |= sort(change[chosen], teachers, some, generator)
    return terms


def _proxy_terms(
    change: Tensor, teachers: Teachers, batch: dict[str, Tensor], generator: Generator
) -> dict[str, Tensor]:
    out, truth, region = batch["laid"] + change, batch["truth"], batch["region"]
    found = teachers.identity(out, batch["points"], generator)
    return {
        "pixels": 10 * over(out - truth, region).mean(),
        "coarse": 15 * _coarse_difference(out - truth, region),
        "features": 0.7 * teachers.apart(out, truth, generator).mean(),
        "person": 3 * (1 - (found * batch["identity"]).sum(-1)).mean(),
    }


def _pair_terms(
    change: Tensor, teachers: Teachers, batch: dict[str, Tensor], generator: Generator
) -> dict[str, Tensor]:
    out, region = batch["laid"] + change, batch["region"]
    found = teachers.identity(out, batch["points"], generator)
    same, other = ((found * batch[who]).sum(-1) for who in ("identity", "other"))
    between = (batch["identity"] * batch["other"]).sum(-1)
    return {
        "identity": 3 * (1 - same).mean(),
        "other": (other - between).clamp_min(0).mean(),
        "kept": 0.7 * teachers.apart(out, batch["bare"], generator).mean(),
        "stay": 2 * over(out - batch["bare"], region).mean(),
        "tone": 15 * _coarse_difference(out - batch["bare"], region),
    }


def _coarse_difference(difference: Tensor, region: Tensor) -> Tensor:
    """Mean absolute value of a difference averaged over squares, summed over the square sizes."""
    rows = [over(*(nnf.avg_pool2d(x, side) for x in (difference * region, region))) for side in _COARSE]
    return torch.stack(rows).mean(1).sum()


def measured(refiner: nn.Module, teachers: Teachers, batch: dict[str, Tensor]) -> dict[str, float]:
    """Measures of the refiner's results, and with suffix `_laid` of the warped faces that it starts from."""
    known, region = batch["known"], batch["region"]
    report = {}
    with torch.inference_mode():
        parts = zip(*(batch[name].split(8) for name in ("target", "laid", "region", "z")), strict=True)
        change = torch.cat([refiner(*part) for part in parts])
        for name, pictures in (("", (batch["laid"] + change).clamp(0, 1)), ("_laid", batch["laid"])):
            rows = zip(pictures.split(8), batch["truth"].split(8), strict=True)
            apart = torch.cat([teachers.apart(*pair) for pair in rows])
            cosine = (teachers.identity(pictures, batch["points"]) * batch["identity"]).sum(-1)
            report |= {
                f"pixels{name}": float(over(pictures - batch["truth"], region)[known].mean()),
                f"features{name}": float(apart[known].mean()),
                f"proxy_cos{name}": float(cosine[known].mean()),
                f"pair_cos{name}": float(cosine[~known].mean()),
            }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--examples", type=Path, default=Path("runs/refiner/examples"))
    parser.add_argument("--held-out", type=Path, default=Path("runs/refiner/held_out"))
    parser.add_argument("--run", type=Path, default=Path("runs/refiner/run"))
    parser.add_argument("--start", type=Path, help="folder of a run whose refiner this one starts from")
    parser.add_argument("--only-proxies", action="store_true")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--rate", type=float, default=2e-3)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    teachers = Teachers(arguments.data / "teachers")
    learned, held_out = (judged(load_examples(folder), teachers) for folder in (arguments.examples, arguments.held_out))
    known = [held_out["known"].nonzero()[:_HELD_OUT, 0], (~held_out["known"]).nonzero()[:_HELD_OUT, 0]]
    kept = examples(held_out, torch.cat(known))
    sorts = [learned["known"].nonzero()[:, 0], (~learned["known"]).nonzero()[:, 0]]
    logging.info("%d surrogates, %d pairs", *map(len, sorts))
    sorts = sorts[:1] if arguments.only_proxies else sorts

    def loss(refiner: nn.Module, generator: Generator) -> dict[str, Tensor]:
        each = arguments.batch // len(sorts)
        rows = [some[torch.randint(len(some), (each,), generator=generator)] for some in sorts]
        return losses(refiner, teachers, varied(examples(learned, torch.cat(rows)), generator), generator)

    def validate(refiner: nn.Module) -> dict[str, float]:
        return measured(refiner, teachers, kept)

    refiner = Refiner()
    if arguments.start:
        refiner.load_state_dict(weights.load_model(arguments.start / _FILE, Refiner).state_dict())
    schedule = Schedule(arguments.minutes, rate=arguments.rate, warm_up=100, average=0.995, clip=1.0)
    refiner = fit(refiner, loss, schedule, arguments.run, validate)
    weights.save_model(arguments.run / _FILE, refiner, torch.float32)
    if not arguments.only_proxies:
        weights.save_model(weights.LITE / _FILE, refiner, licence="research, non-commercial: MODEL_CARD.md")


if __name__ == "__main__":
    main()
