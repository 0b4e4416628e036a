"""The pictures of the help pages and of the workflows, each made by the node or the chain that it explains.

    OMP_NUM_THREADS=1 python tests/workflows/pictures.py [name ...]

writes `web/docs/<node id>.jpg` and `workflows/<name>.jpg`, all of them or those named, in a minute and the same each
time. The people are the bundled examples 1 to 5, nobody's portraits; the sixth, a child, appears nowhere. The nodes run
on the small host of tests/host.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

ROOT = Path(__file__).parents[2]
WIDTH, QUALITY = 900, 85  # px, of JPEG
GROUP = (1, 3, 5, 2)  # from the left
_GAP, _TEXT, _LINE = 6, 15, 22  # px: between pictures, of letters, of lines
_PAPER, _INK = (24, 24, 24), (235, 235, 235)

Pictures = Tensor  # an IMAGE of ComfyUI, (B, H, W, 3) in 0..1
Sheet = Image.Image
Cell = tuple[str, "Pictures | Sheet"]  # a caption, and what is above it: the first of a batch


@dataclass(frozen=True)
class Studio:
    """The pack as the host loads it, with a folder of its own for what nodes write."""

    package: str
    nodes: dict[str, Any]
    folder: Path

    def core(self, module: str) -> Any:
        return importlib.import_module(f"{self.package}.cscs_core.{module}")

    def run(self, name: str, **inputs: Any) -> Any:
        """What the node CSCS_<name> gives, with its own defaults for what is not said."""
        node = self.nodes[f"CSCS_{name}"]
        widgets = (part for part in node.GET_SCHEMA().inputs if hasattr(part, "default") and not part.optional)
        return node.execute(**{**{part.id: part.default for part in widgets}, **inputs})

    def person(self, number: int) -> Pictures:
        return self.core("io.images").read(ROOT / "cscs_core" / "examples" / f"person_{number}.jpg").movedim(1, -1)

    def group(self, people: Sequence[int] = GROUP, wide: int = 380, fade: int = 60) -> Pictures:
        """People side by side, each `wide` px, fading into the next one."""
        left = (512 - wide - fade) // 2
        cut = [self.person(number)[:, :, left : left + wide + fade] for number in people]
        ramp = torch.linspace(0, 1, fade)[:, None]
        whole = cut[0]
        for one in cut[1:]:
            seam = whole[:, :, -fade:].lerp(one[:, :, :fade], ramp)
            whole = torch.cat([whole[:, :, :-fade], seam, one[:, :, fade:]], 2)
        return whole

    def found(self, image: Pictures) -> Any:
        return self.run("DetectFaces", image=image, faces_order="left-right")[0]

    def crops(self, image: Pictures, resolution: str = "512") -> Any:
        return self.run("AlignFaces", image=image, faces=self.found(image), resolution=resolution)[0]

    def identity(self, *people: int) -> Any:
        return self.run("FaceIdentity", image=torch.cat([self.person(number) for number in people]))[0]

    def swapped(self, target: int, source: int, **options: Any) -> Pictures:
        return self.run("FaceSwap", target=self.person(target), source=self.person(source), **options)[0]


@contextmanager
def studio() -> Iterator[Studio]:
    package = str(ROOT).replace(".", "_x_")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        patch.syspath_prepend(str(ROOT / "tests" / "host"))
        folders = importlib.import_module("folder_paths")
        for kind in ("output", "input", "temp", "user"):
            patch.setattr(folders, f"{kind}_directory", f"{folder}/{kind}")
        patch.setattr(folders, "models_dir", f"{folder}/models")
        spec = importlib.util.spec_from_file_location(package, ROOT / "__init__.py")
        assert spec and spec.loader
        entry = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, package, entry)
        spec.loader.exec_module(entry)
        extension = asyncio.run(entry.comfy_entrypoint())
        asyncio.run(extension.on_load())
        nodes = asyncio.run(extension.get_node_list())
        yield Studio(package, {node.GET_SCHEMA().node_id: node for node in nodes}, Path(folder))


# The help pages


def load_model(at: Studio) -> Sheet:
    info = at.run("LoadModel")[3].splitlines()
    return card(["info for the bundled networks:", "", *info])


def restore_faces(at: Studio) -> Sheet:
    cells: list[Cell] = []
    for name, poor in (("grainy", grainy(at.person(1))), ("blurred", blurred(at.person(2)))):
        cells += [(name, close(poor)), ("restored", close(at.run("RestoreFaces", image=poor)[0]))]
    return row(*cells)


def detect_faces(at: Studio) -> Sheet:
    marked = at.run("DetectFaces", image=at.group(), faces_order="left-right")
    return row(("faces_order left-right: the numbers for faces_index", marked[1]))


def select_faces(at: Studio) -> Sheet:
    image = at.group()
    faces = at.found(image)
    chosen = at.run("SelectFaces", image=image, faces=faces, faces_order="left-right", faces_index="0, 2")[0]
    shown = at.run("PreviewFaces", image=image, faces=faces, chosen=chosen, landmarks=False)[0]
    return row(("faces_order left-right, faces_index 0, 2: the coloured faces are kept", shown))


def track_faces(at: Studio) -> Sheet:
    image = pan(at)
    faces = at.run("TrackFaces", image=image, faces=at.found(image))[0]
    shown = at.run("PreviewFaces", image=image, faces=faces, numbers="tracks", landmarks=False)[0]
    return row(*((f"frame {index}", shown[[index]]) for index in (0, 4, 8)))


def preview_faces(at: Studio) -> Sheet:
    image = at.person(3)
    faces = at.found(image)
    few = at.run("PreviewFaces", image=image, faces=faces)[0]
    many = at.run("PreviewFaces", image=image, faces=faces, landmarks=False, dense_mesh=True)[0]
    return row(("numbers faces, landmarks", few), ("numbers faces, dense_mesh", many))


def align_faces(at: Studio) -> Sheet:
    image = askew(at.group((2, 1)))
    _, cut, masks = at.run("AlignFaces", image=image, faces=at.found(image)).args
    cells = [("image", image), ("images: the first", cut[[0]]), ("and the second", cut[[1]])]
    return row(*cells, ("its mask", masks[1, ..., None].expand(1, -1, -1, 3)))


def paste_faces(at: Studio) -> Sheet:
    image = askew(at.group((2, 1)))
    crops = at.crops(image)
    drawn = torch.cat([painted(one[None]) for one in crops.pixels.movedim(1, -1)])
    pasted = at.run("PasteFaces", image=image, crops=crops, faces_image=drawn, feather=0.03)[0]
    cells = [("image", image), ("faces_image: painted", drawn[[0]]), ("by a filter", drawn[[1]])]
    return row(*cells, ("pasted", pasted))


def face_mask(at: Studio) -> Sheet:
    crops = at.crops(at.person(5))
    ways: dict[str, dict[str, Any]] = {
        "kind hull": {"kind": "hull"},
        "box": {"kind": "box"},
        "hull, grow -0.05": {"kind": "hull", "grow": -0.05},
        "hull, feather 0.2": {"kind": "hull", "feather": 0.2},
        "hull, keep_eyes": {"kind": "hull", "keep_eyes": True},
        "hull, keep_mouth": {"kind": "hull", "keep_mouth": True},
    }
    cells = []
    for name, options in ways.items():
        mask = at.run("FaceMask", crops=crops, combine="replace", **options)[1][..., None]
        pixels = crops.pixels.movedim(1, -1)
        cells.append((name, (0.25 * pixels).lerp(pixels, mask)))
    return stack(row(*cells[:3]), row(*cells[3:]))


def face_identity(at: Studio) -> Sheet:
    photos = torch.cat([album(at, 5), at.person(1)])
    _, preview, report = at.run("FaceIdentity", image=photos, outlier_threshold=0.45).args
    words = [line.replace("similarity to the others", "similarity").split(": its")[0] for line in report.splitlines()]
    return row(*((word, preview[[index]]) for index, word in enumerate(words)))


def blend_identities(at: Studio) -> Sheet:
    one, other = at.identity(1), at.identity(5)
    cells = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        cells.append((f"share {share:g}", at.run("BlendIdentities", identity_a=one, identity_b=other, share=share)[1]))
    return row(*cells)


def save_identity(at: Studio) -> Sheet:
    preview, report = at.run("FaceIdentity", image=at.person(2))[1], _saved(at, "somebody")
    return beside(preview, ["filename: somebody", "", "report:", *report.replace(", saved", ",\nsaved").split("\n")])


def load_identity(at: Studio) -> Sheet:
    _saved(at, "somebody")
    cells = [at.run("LoadIdentity", file=name) for name in ("somebody", "example person 1", "example person 5")]
    names = ("saved by Save Identity", "example person 1, bundled", "example person 5, bundled")
    return row(*((name, cell[1]) for name, cell in zip(names, cells, strict=True)))


def _saved(at: Studio, name: str) -> str:
    """The report on a saved person, without where this machine keeps its models."""
    report = at.run("SaveIdentity", identity=at.identity(2), filename=name, overwrite=True)[0]
    return report.replace(f"{at.folder.as_posix()}/", "")


def swap_faces(at: Studio) -> Sheet:
    crops = at.crops(at.group((1, 4)))
    made = at.run("SwapFaces", crops=crops, identity=at.identity(5))[1]
    before = crops.pixels.movedim(1, -1)
    return row(
        ("identity", at.person(5)),
        ("crops", before[[0]]),
        ("swapped", made[[0]]),
        ("crops", before[[1]]),
        ("swapped", made[[1]]),
    )


def face_swap(at: Studio) -> Sheet:
    return row(("target", at.person(1)), ("source", at.person(5)), ("image", at.swapped(1, 5)))


def source_surrogate(at: Studio) -> Sheet:
    crops, others = at.crops(at.person(1)), at.crops(torch.cat([at.person(number) for number in (2, 3, 4, 5)]))
    cells: list[Cell] = [("crops", crops.pixels.movedim(1, -1))]
    for seed in (4, 8, 9, 10):
        made = at.run("SourceSurrogate", crops=crops, others=others, seed=seed)
        cells.append((f"seed {seed}", made[1]))
    return row(*cells)


def target_surrogate(at: Studio) -> Sheet:
    crops, donors = at.crops(at.person(1)), at.crops(torch.cat([at.person(number) for number in (2, 3, 5)]))
    cells: list[Cell] = [("crops", crops.pixels.movedim(1, -1))]
    for kind in ("donor", "swapper", "erase"):
        made = at.run("TargetSurrogate", crops=crops, donors=donors, identity=at.identity(5), kind=kind, seed=1)
        cells.append((f"kind {kind}", made[1]))
    return row(*cells)


def explicit_adaptation(at: Studio) -> Sheet:
    ways: list[tuple[str, int, dict[str, Any]]] = [
        ("crops", 5, {}),
        ("face -1: thinner", 5, {"face": -1.0}),
        ("face 1: chubbier", 5, {"face": 1.0}),
        ("makeup 1", 5, {"makeup": 1.0}),
        ("crops", 2, {}),
        ("glasses, tint 0.2", 2, {"glasses": "round", "tint": 0.2}),
        ("beard 1", 2, {"beard": 1.0}),
        ("eyes 1, nose 1", 2, {"eyes": 1.0, "nose": 1.0}),
    ]
    cells: list[Cell] = []
    for name, number, options in ways:
        cells.append((name, at.run("ExplicitAdaptation", crops=at.crops(at.person(number)), **options)[1]))
    return stack(row(*cells[:4], width=840), row(*cells[4:], width=840))


def proxy_pairs(at: Studio) -> Sheet:
    preview = at.run("ProxyPairs", image=torch.cat([at.person(number) for number in range(1, 6)]), seed=1)[0]
    side, rows = preview.shape[2] // 5, (0, 1, 3)
    names = ("photo", "source", "target", "target, thinner", "target, chubbier")
    cells = [[preview[:, y * side : (y + 1) * side, x * side : (x + 1) * side] for x in range(5)] for y in rows]
    bare = [row(*(("", cell) for cell in few), width=740) for few in cells[:-1]]
    return stack(*bare, row(*zip(names, cells[-1], strict=True), width=740))


def re_age(at: Studio) -> Sheet:
    """No example person is there at two ages, so the reference is somebody else, as the page says."""
    today, reference = at.person(2), at.person(3)
    cells: list[Cell] = [("image", close(today)), ("reference (here another person)", close(reference))]
    for take, strength in (("whole face", 1.0), ("whole face", 0.5), ("skin", 1.0), ("fine detail", 1.0)):
        made = at.run("ReAge", image=today, reference=reference, take=take, strength=strength)[0]
        cells.append((f"take {take}" + f", strength {strength}" * (strength < 1), close(made)))
    return stack(row(*cells[:3], width=720), row(*cells[3:], width=720))


def cross_domain(at: Studio) -> Sheet:
    target, source = painted(at.person(5)), at.person(1)
    made = at.run("CrossDomain", target=target, source=source)[0]
    names, pictures = ("target, painted by a filter", "source", "image"), (target, source, made)
    return row(*((name, close(picture)) for name, picture in zip(names, pictures, strict=True)))


def face_report(at: Studio) -> Sheet:
    return report_on(at, "lite")


def save_image(at: Studio) -> Sheet:
    note = at.core("io.provenance")
    at.run("SaveImage", image=at.swapped(2, 3), filename_prefix="help", format="jpg", visible_label=True)
    file = at.folder / "output" / "help_00001_.jpg"
    lines = [f"{key}: {value}" for key, value in note.read(file).items()]
    return beside(sheet_of(file), ["visible_label, and the note in the file:", "", *lines])


# The workflows


def several_people(at: Studio) -> Sheet:
    group = at.group((4, 3, 1))
    found = at.found(group)
    who = at.run("SelectFaces", image=group, faces=found, reference=at.identity(3))[0]
    left = at.run("SelectFaces", image=group, faces=found, faces_order="left-right", faces_index="0")[0]
    image = group
    for faces, source in ((who, 2), (left, 5)):
        crops = at.run("AlignFaces", image=image, faces=faces)[0]
        made = at.run("SwapFaces", crops=crops, identity=at.identity(source))[0]
        image = at.run("PasteFaces", image=image, crops=made)[0]
    return stack(row(("before", group)), row(("after: two faces are swapped, the third is unchanged", image)))


def identity_from_photos(at: Studio) -> Sheet:
    photos = torch.cat([album(at, 5), at.person(3)])
    person, cut, _ = at.run("FaceIdentity", image=photos, outlier_threshold=0.45).args
    blend, between, _ = at.run("BlendIdentities", identity_a=person, identity_b=at.identity(1), share=0.4).args
    made = at.run("FaceSwap", target=at.person(4), identity=blend)[0]
    names = ("a photo", "a second, made from it", "a third, made from it", "left out")
    above = row(*((name, cut[[index]]) for index, name in enumerate(names)))
    cells = [("another person", at.person(1)), ("between the two", between), ("target", at.person(4))]
    return stack(above, row(*cells, ("result", made)))


def reports(at: Studio) -> Sheet:
    return row(("by lite, restored", report_on(at, "lite", restored=True)), ("by warp", report_on(at, "warp")))


def both_domains(at: Studio) -> Sheet:
    painting, photo = painted(at.person(5)), at.person(1)
    onto_photo, onto_painting = (
        at.run("CrossDomain", target=target, source=source)[0]
        for target, source in ((photo, painting), (painting, photo))
    )
    return stack(
        row(("photo", photo), ("painting, by a filter", painting), ("painting to photo", onto_photo), width=720),
        row(("painting", painting), ("photo", photo), ("photo to painting", onto_painting), width=720),
    )


def stylise(at: Studio) -> Sheet:
    """No checkpoint is bundled: a filter stands in for what it draws, and the caption says so."""
    target, source = at.person(4), at.person(5)
    made = at.run("CrossDomain", target=target, source=source, texture=0.0)
    drawn = painted(made[2], reach=2, warmth=0.0)
    pasted = at.run("PasteFaces", image=made[0], crops=made[4], faces_image=drawn, feather=0.05)[0]
    return row(("target", target), ("source", source), ("swapped and redrawn, here by a filter", pasted))


def video(at: Studio) -> Sheet:
    frames = pan(at)
    tracks = at.run("TrackFaces", image=frames, faces=at.found(frames))[0]
    kept = at.run("SelectFaces", image=frames, faces=tracks, tracks="1")[0]
    crops = at.run("AlignFaces", image=frames, faces=kept, resolution="256")[0]
    made = at.run("SwapFaces", crops=crops, identity=at.identity(2))[0]
    after = at.run("PasteFaces", image=frames, crops=made)[0]
    return stack(
        row(*((f"frame {index}", frames[[index]]) for index in (0, 4, 8))),
        row(*((f"frame {index}, one person swapped", after[[index]]) for index in (0, 4, 8))),
    )


HELP: dict[str, Callable[[Studio], Sheet]] = {
    "LoadModel": load_model,
    "DetectFaces": detect_faces,
    "SelectFaces": select_faces,
    "TrackFaces": track_faces,
    "PreviewFaces": preview_faces,
    "AlignFaces": align_faces,
    "PasteFaces": paste_faces,
    "FaceMask": face_mask,
    "FaceIdentity": face_identity,
    "BlendIdentities": blend_identities,
    "SaveIdentity": save_identity,
    "LoadIdentity": load_identity,
    "SwapFaces": swap_faces,
    "FaceSwap": face_swap,
    "SourceSurrogate": source_surrogate,
    "TargetSurrogate": target_surrogate,
    "ExplicitAdaptation": explicit_adaptation,
    "ProxyPairs": proxy_pairs,
    "ReAge": re_age,
    "CrossDomain": cross_domain,
    "FaceReport": face_report,
    "SaveImage": save_image,
    "RestoreFaces": restore_faces,
}
WORKFLOWS: dict[str, Callable[[Studio], Sheet]] = {
    "face_swap": lambda at: row(("target", at.person(5)), ("source", at.person(1)), ("result", at.swapped(5, 1))),
    "several_people": several_people,
    "identity_from_photos": identity_from_photos,
    "proxy_pairs": proxy_pairs,
    "re_age": lambda at: row(
        ("today", at.person(2)),
        ("another age, here another person", at.person(3)),
        ("result", at.run("ReAge", image=at.person(2), reference=at.person(3))[0]),
    ),
    "cross_domain": both_domains,
    "stylise": stylise,
    "video": video,
    "quality_report": reports,
}


# Photographs that the examples are not


def pan(at: Studio) -> Pictures:
    """Nine frames of a camera that passes along the group."""
    whole = at.group((5, 3, 1, 4))
    return torch.cat([whole[:, :, start : start + 800] for start in range(0, 8 * 55 + 1, 55)])


def askew(image: Pictures, degrees: float = 12.0) -> Pictures:
    """As held by a careless hand; beyond its border that is repeated."""
    turn = torch.tensor(degrees).deg2rad()
    height, width = image.shape[1:3]
    matrix = torch.tensor([[turn.cos(), -turn.sin() * height / width, 0], [turn.sin() * width / height, turn.cos(), 0]])
    grid = nnf.affine_grid(matrix[None], [1, 3, height, width], align_corners=False)
    return nnf.grid_sample(image.movedim(-1, 1), grid, padding_mode="border", align_corners=False).movedim(1, -1)


def album(at: Studio, number: int) -> Pictures:
    """Three photographs of one person: the example, and two otherwise lit and turned."""
    crops = at.crops(at.person(number))
    made = [
        at.run(
            "SourceSurrogate", crops=crops, seed=seed, surroundings=False, damage=0.0, expression=0.4, mirror=mirror
        )[1]
        for seed, mirror in ((4, False), (1, True))
    ]
    return torch.cat([at.person(number), *made])


def close(image: Pictures) -> Pictures:
    """The face of an example person and little else."""
    left, top, side = (round(share * image.shape[1]) for share in (0.11, 0.14, 0.78))
    return image[:, top : top + side, left : left + side]


def small(image: Pictures) -> Pictures:
    return tensor(pil(image).resize((256, 256), Image.Resampling.BOX))


def grainy(image: Pictures) -> Pictures:
    """Small, and with grain of 0.05."""
    image = small(image)
    return (image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def blurred(image: Pictures) -> Pictures:
    """Small, and out of focus by 2 px."""
    return tensor(pil(small(image)).filter(ImageFilter.GaussianBlur(2)))


def painted(image: Pictures, reach: int = 4, warmth: float = 1.0) -> Pictures:
    """In flat strokes on canvas, and in warmer colours: each pixel takes the mean of that corner around it that varies
    least (Kuwahara et al. 1976)."""
    pixels, side = image.movedim(-1, 1), reach + 1
    padded = nnf.pad(pixels, [reach] * 4, mode="reflect")
    mean = nnf.avg_pool2d(padded, side, 1)
    varies = (nnf.avg_pool2d(padded**2, side, 1) - mean**2).sum(1, keepdim=True)
    high, wide = pixels.shape[-2:]
    corners = [(y, x) for y in (0, reach) for x in (0, reach)]
    means, spread = (
        torch.stack([values[..., y : y + high, x : x + wide] for y, x in corners]) for values in (mean, varies)
    )
    least = spread.argmin(0, keepdim=True).expand(-1, -1, 3, -1, -1)
    y, x = torch.arange(high)[:, None], torch.arange(wide)
    canvas = 1 + 0.05 * torch.sin(y * 1.3) * torch.sin(x * 1.3)
    warm = 1 + warmth * torch.tensor([0.06, 0.0, -0.14])
    return (means.gather(0, least)[0] * canvas).movedim(1, -1).mul(warm).clamp(0, 1)


# Sheets


def report_on(at: Studio, swapper: str, restored: bool = False) -> Sheet:
    target, person = at.person(1), at.identity(5)
    done = at.run("FaceSwap", target=target, identity=person, swapper=swapper)
    result = at.run("RestoreFaces", image=done[0], faces=done[3])[0] if restored else done[0]
    return pil(at.run("FaceReport", target=target, result=result, identity=person, mask=done[1])[3])


def row(*cells: Cell, width: int = WIDTH) -> Sheet:
    """Pictures beside each other, of one height and together so wide, with their captions beneath."""
    pictures = [cell if isinstance(cell, Sheet) else pil(cell) for _, cell in cells]
    room = width - _GAP * (len(cells) + 1)
    height = min(512, int(room / sum(picture.width / picture.height for picture in pictures)))
    tall = height + 2 * _GAP + _LINE * any(caption for caption, _ in cells)
    sheet, left = Image.new("RGB", (width, tall), _PAPER), float(_GAP)
    pen = ImageDraw.Draw(sheet)
    for (caption, _), picture in zip(cells, pictures, strict=True):
        wide = height * picture.width / picture.height
        box = (round(left), _GAP, round(left + wide), _GAP + height)
        sheet.paste(picture.resize((box[2] - box[0], height), Image.Resampling.LANCZOS), box)
        font = ImageFont.load_default(min(_TEXT, _TEXT * wide / max(1.0, pen.textlength(caption, _font()))))
        pen.text((box[0], box[3] + 3), caption, _INK, font)
        left += wide + _GAP
    return sheet


def stack(*rows: Sheet) -> Sheet:
    """Rows below each other."""
    width, height = max(one.width for one in rows), sum(one.height for one in rows)
    sheet, top = Image.new("RGB", (width, height), _PAPER), 0
    for one in rows:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet


def card(lines: Sequence[str]) -> Sheet:
    """Words alone."""
    sheet = Image.new("RGB", (600, 2 * _LINE + _LINE * len(lines)), _PAPER)
    write(sheet, lines, (_LINE, _LINE))
    return sheet


def beside(picture: Pictures | Sheet, lines: Sequence[str]) -> Sheet:
    """A picture, and words to its right, broken where they must be."""
    side, sheet = 320, Image.new("RGB", (WIDTH, 320 + 2 * _GAP), _PAPER)
    shown = picture if isinstance(picture, Sheet) else pil(picture)
    sheet.paste(shown.resize((side, side), Image.Resampling.LANCZOS), (_GAP, _GAP))
    left = side + 4 * _GAP
    write(sheet, [part for line in lines for part in broken(line, WIDTH - left - _GAP)], (left, 2 * _GAP))
    return sheet


def broken(line: str, room: float) -> list[str]:
    """A line in parts that are no longer than the room, in px, broken at its spaces, or anywhere in a long word."""
    font, parts = _font(), [""]
    for word in line.split(" "):
        whole = f"{parts[-1]} {word}".strip()
        if font.getlength(whole) <= room:
            parts[-1] = whole
            continue
        parts.append("")
        for letter in word:
            if font.getlength(parts[-1] + letter) > room:
                parts.append("")
            parts[-1] += letter
    return [part for part in parts if part] or [""]


def write(sheet: Sheet, lines: Sequence[str], corner: tuple[int, int]) -> None:
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((corner[0], corner[1] + number * _LINE), line, _INK, _font())


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(_TEXT)


def pil(image: Pictures) -> Sheet:
    return Image.fromarray((image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def tensor(picture: Sheet) -> Pictures:
    return torch.from_numpy(np.array(picture.convert("RGB")))[None].float() / 255


def sheet_of(file: Path) -> Sheet:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def main(names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    files = {f"CSCS_{name}": (ROOT / "web" / "docs", make) for name, make in HELP.items()}
    files |= {name: (ROOT / "workflows", make) for name, make in WORKFLOWS.items()}
    with studio() as at:
        provenance = at.core("io.provenance")
        said = provenance.settings("JPEG", provenance.synthetic(), {})
        for name in names or files:
            folder, make = files[name]
            torch.manual_seed(0)
            with at.core("io.files").placed(folder / f"{name}.jpg") as beside:
                make(at).save(beside, "JPEG", quality=QUALITY, optimize=True, **said)


if __name__ == "__main__":
    main(sys.argv[1:])
