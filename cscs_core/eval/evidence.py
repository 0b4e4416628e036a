"""An ablation: does training with proxy pairs make a better swapper, and which part of them matters? Small enough for
two CPU cores: 64 px, a few variants of training with equal steps and several seeds, measured on held-out people.

    python -m cscs_core.eval.evidence --data $CSCS_DATA --out runs/evidence

Files that are already in the output folder are not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Generator, Tensor

from ..faces.align import resize
from ..hub import weights
from ..io import images
from ..io.files import write_json
from ..ops import mask, mesh
from ..pipeline import load_models
from ..tasks.report import expression_error, outline_error, pose_error
from ..train.people import load_people
from ..train.swap.student import Recogniser
from ..types import Crops, join
from .evidence_data import build, cut
from .evidence_student import SIDE, SmallStudent
from .evidence_train import VARIANTS, recogniser, student
from .judges import Judges, interval, load_judges, retrieved

log = logging.getLogger(__name__)

_FOLDERS = ("omi", "fake")
_JUDGED = 256  # px, crop side for the judges
_SHOWN = 10  # pairs on the sheet
_CHUNK = 32
_SHIFT = 7  # the source of each target is the person this many rows further on

MEASURES = {
    "cos_source": "cosine to the source",
    "cos_target": "cosine to the target",
    "top_1": "source is the nearest of all",
    "pose": "pose error, degrees",
    "expression": "expression error, outer-eye distances",
    "outline_source": "outline's distance from the source's, outer-eye distances",
    "outline_target": "the same from the target's",
    "surroundings": "mean difference from the target outside its face, 0..1",
    "tone": "difference of the face's mean colour from the target's, 0..1",
}


COMPARED = (
    *((way, "full") for way in VARIANTS if way != "full"),
    ("ordinary", "full_strong"),
    ("no_source", "full_strong"),
)


@dataclass(frozen=True)
class Trial:
    """N held-out pairs: row i of the sources is swapped onto row i of the targets."""

    sources: Crops  # 256 px
    targets: Crops  # 256 px
    judges: Judges
    everyone: Tensor  # (N, 128) unit embeddings of the targets
    points: Tensor  # (N, 68, 2) landmarks of the targets
    person: Tensor  # (N,) row among the targets of each source's person

    def measure(self, results: Tensor) -> dict[str, Tensor]:
        """The MEASURES of results (N, 3, S, S) 0..1, (N,) each."""
        seen = nnf.interpolate(results, (_JUDGED, _JUDGED), mode="bicubic").clamp(0, 1)
        identity, points = judged(self.judges, seen, self.targets.mesh)
        return {
            "cos_source": (identity * self.everyone[self.person]).sum(-1),
            "cos_target": (identity * self.everyone).sum(-1),
            "top_1": retrieved(identity, self.everyone, self.person).float(),
            "pose": pose_error(points, self.points),
            "expression": expression_error(points, self.points),
            "outline_source": outline_error(points, self.points[self.person]),
            "outline_target": outline_error(points, self.points),
            **kept(results, resize(self.targets, results.shape[-1])),
        }


def judged(judges: Judges, pictures: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (N, 128) and 68 landmarks (N, 68, 2) of images (N, 3, S, S) 0..1 with meshes (N, 468, 2), in
    chunks."""
    rows = [
        (judges.identity(some, places), judges.points(some, mesh.box(places)))
        for some, places in zip(pictures.split(_CHUNK), points.split(_CHUNK), strict=True)
    ]
    identity, found = (torch.cat(column) for column in zip(*rows, strict=True))
    return identity, found


def kept(results: Tensor, targets: Crops) -> dict[str, Tensor]:
    """Differences of results (N, 3, S, S) from targets of the same size: around the face, and in its mean colour, (N,)
    0..1 each."""
    face = mask.hull(targets.mesh, targets.size)
    apart = results - targets.pixels

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return (values * where).sum((2, 3)) / where.sum((2, 3)).clamp_min(1)

    return {"surroundings": mean(apart.abs(), 1 - face).mean(1), "tone": mean(apart, face).abs().mean(1)}


def small(crops: Crops) -> Tensor:
    """The crops at the student's size, (N, 3, 64, 64) 0..1."""
    return resize(crops, SIDE).pixels


def trial(data: Path, judges: Judges) -> Trial:
    """A trial with all people of the test and validation splits, each the source of one pair and the target of
    another."""
    people = [load_people(data, split, _FOLDERS) for split in ("test", "validation")]
    targets = join([cut(some, torch.arange(len(some)), _JUDGED) for some in people])
    # Neighbours in the list may look alike.
    targets = targets[torch.randperm(len(targets), generator=Generator().manual_seed(1))]
    person = torch.arange(len(targets)).roll(-_SHIFT)
    everyone, points = judged(judges, targets.pixels, targets.mesh)
    return Trial(targets[person], targets, judges, everyone, points, person)


@torch.no_grad()
def swapped(by: SmallStudent, known: Recogniser, sources: Tensor, targets: Tensor) -> Tensor:
    """Swaps the sources onto the targets with a student, (N, 3, S, S) 0..1 twice -> (N, 3, S, S) 0..1."""
    made = []
    for source, target in zip(sources.split(_CHUNK), targets.split(_CHUNK), strict=True):
        view = known.view(source * 2 - 1)
        made.append(by(target * 2 - 1, view, known.of_view(view)) * 0.5 + 0.5)
    return torch.cat(made).clamp(0, 1)


def measured(test: Trial, results: Tensor, file: Path) -> dict[str, Tensor]:
    """The measures of a trial, (N,) each; read from the file if it exists, otherwise written to it."""
    if not file.exists():
        weights.write(file, test.measure(results), {"arch": "evidence"})
    return weights.read(file)[0]


def summary(found: dict[str, list[dict[str, Tensor]]]) -> dict[str, dict[str, dict]]:
    """Means with intervals of all measures for each variant, and for the paired differences in COMPARED."""
    ways = {
        way: {name: torch.stack([measured[name] for measured in seeds]) for name in MEASURES}
        for way, seeds in found.items()
    }
    report = {
        way: {name: {**asdict(interval(rows)), "seeds": rows.mean(1).tolist()} for name, rows in values.items()}
        for way, values in ways.items()
    }
    for one, other in COMPARED:
        differences = {name: asdict(interval(ways[one][name] - ways[other][name])) for name in MEASURES}
        report[f"{one} - {other}"] = differences
    return report


def together(found: dict[str, list[dict[str, Tensor]]]) -> dict[str, float]:
    """Correlation of each measure with the cosine to the source over all runs, -1..1."""
    runs = [measures for way in VARIANTS for measures in found[way]]
    means = {name: torch.stack([measures[name].mean() for measures in runs]) for name in MEASURES}
    return {name: float(torch.corrcoef(torch.stack([means["cos_source"], row]))[0, 1]) for name, row in means.items()}


def sheet(rows: list[list[Tensor]], side: int = 96) -> Image.Image:
    """A contact sheet of images (3, S, S) 0..1, in rows."""
    page = Image.new("RGB", (side * len(rows[0]), side * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            tile = images.to_pil(picture).resize((side, side), Image.Resampling.BICUBIC)
            page.paste(tile, (x * side, y * side))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--people", type=int, default=768, help="number of people that proxies are made from")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    out: Path = arguments.out
    made = build(load_people(arguments.data, "train", _FOLDERS), load_models(), out / "data", arguments.people)
    log.info("%d people, %d proxies", len(made.photographs), len(made.y))
    known = recogniser()
    test = trial(arguments.data, load_judges(arguments.data))
    sources, targets = small(test.sources), small(test.targets)
    found: dict[str, list[dict[str, Tensor]]] = {name: [] for name in VARIANTS}
    shown: dict[str, Tensor] = {}
    for seed in range(arguments.seeds):  # all variants of one seed first, so that an early stop leaves a comparison
        for variant in VARIANTS:
            by = student(
                variant, made, known, arguments.steps, seed, out / "students" / f"{variant}_{seed}.safetensors"
            )
            results = swapped(by, known, sources, targets)
            found[variant].append(measured(test, results, out / "measures" / f"{variant}_{seed}.safetensors"))
            shown.setdefault(variant, results[:_SHOWN])
            means = {name: round(float(values.mean()), 4) for name, values in found[variant][-1].items()}
            log.info("%s, seed %d: %s", variant, seed, json.dumps(means))
    # Baselines: targets and sources at 64 px measured as if they were results (no swap, and a complete copy).
    for name, pictures in (("targets", targets), ("sources", sources)):
        found[name] = [measured(test, pictures, out / "measures" / f"{name}.safetensors")]
    report = {"pairs": len(targets), "people": len(made.photographs), "proxies": len(made.y), "steps": arguments.steps}
    report |= {"measures": summary(found), "with_cos_source": together(found)}
    write_json(out / "evidence.json", report)
    rows = [[sources[row], targets[row], *(pictures[row] for pictures in shown.values())] for row in range(_SHOWN)]
    sheet(rows).save(out / "evidence.png")


if __name__ == "__main__":
    main()
