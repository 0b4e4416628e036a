"""Proxy Pairs: training data from photos, in the output folder, as `cscs pairs` writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import folder_paths
import torch
import torch.nn.functional as nnf
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.io import images
from ..cscs_core.pairs.make import make_pairs, summary
from ..cscs_core.pairs.manifest import PROXY, Line
from ..cscs_core.pairs.worker import PhotographInMemory, Plan, Tools
from . import host, inputs, loaded, node_ui
from .frame_report import NO_IMAGES

_ROWS, _CELL = 12, 192  # of the sheet: most photos, and px of a cell
_FEW = 6  # the user is warned if there are fewer faces


class ProxyPairs(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_ProxyPairs",
            display_name="Proxy Pairs (CSCS)",
            category="CSCS",
            description="Makes training data from photos and writes it to the output folder, in the layout of the "
            "CSCS release: for each photo another picture of the same person, another person in the same place, and a "
            "manifest. `cscs train` learns from that folder.",
            search_aliases=["training data", "dataset", "surrogates", "proxy data", "train swapper"],
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Photos with one person each; the largest face is used. The photos borrow hair, "
                    "background and faces from each other, so use at least a dozen of different people.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="cscs/pairs",
                    tooltip="Folder for the pairs inside the output folder. Size, count and seed are appended. With "
                    "the same values a stopped run continues where it was.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,  # otherwise the page adds one, set to randomize
                    tooltip="Another seed makes other images in another folder. Keep it to continue a run or to add "
                    "photos to a folder.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many sources and how many targets to make from each photo. Raise it if you have few "
                    "photos.",
                ),
                io.Int.Input(
                    "size",
                    default=256,
                    min=64,
                    max=1024,
                    step=64,
                    tooltip="Side length of the written images in pixels. Use the training size of the swapper or "
                    "more.",
                ),
                inputs.detector("It finds the faces, and its face recognition compares them."),
            ],
            outputs=[
                io.Image.Output(
                    "preview",
                    tooltip="One row per photo: face, source, target, and the target with a thinner and a chubbier "
                    "face.",
                ),
                io.String.Output("report", tooltip="The result for each photo, with the reason if there is none."),
                io.String.Output("folder", tooltip="The folder inside the output folder."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        filename_prefix: str,
        seed: int,
        count: int,
        size: int,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        plan = Plan(size, seed, count)
        output = Path(folder_paths.get_output_directory())
        folder = inside(output, f"{filename_prefix}_{size}px_{count}x_seed{seed}")
        photographs = {one.name: one for one in _photographs(image)}
        if not photographs:
            return io.NodeOutput(_sheet([]), NO_IMAGES, folder.as_posix(), ui=node_ui.badge("no images"))
        tools = Tools(loaded.ready(image, detector), host.raise_if_cancelled)
        everything, _ = make_pairs(photographs, output / folder, plan, tools=tools, track=_track)
        by_name = {line["name"]: line for line in everything}
        lines = [by_name[name] | {"source": one.source} for name, one in photographs.items()]
        preview = _sheet([_row(output / folder, line) for line in lines if "skipped" not in line][:_ROWS])
        report = "\n".join([f"{folder.as_posix()}: {summary(everything)}", *map(_result_line, lines), *_advice(lines)])
        made = sum("skipped" not in line for line in lines)
        ui = node_ui.pictures(preview) | node_ui.badge(f"pairs from {made} of {len(lines)} photos")
        return io.NodeOutput(preview, report, folder.as_posix(), ui=ui)


def inside(folder: Path, name: str) -> Path:
    """A name as a relative path below a folder, without characters that file systems refuse. Raises ValueError if it
    leaves the folder all the same, through a link."""
    parts = [re.sub(r"[^\w .()+-]", "_", part).strip(" .")[:100] for part in re.split(r"[\\/]+", name)]
    path = Path(*(part for part in parts if part))
    if not Path(os.path.realpath(folder / path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"filename_prefix {name!r} leads out of the output folder; choose another")
    return path


def _photographs(image: Tensor) -> list[PhotographInMemory]:
    return [PhotographInMemory(one, f"image {index}") for index, one in enumerate(host.photos(image))]


def _track(names: Sequence[str], doing: str) -> Iterator[str]:
    return host.with_progress(names)


def _result_line(line: Line) -> str:
    """The result for one photo."""
    if "skipped" in line:
        return f"{line['source']}: {line['skipped']}"
    similarity = [", ".join(f"{one['similarity']:.2f}" for one in line[kind]) for kind in ("sources", "targets")]
    ways = ", ".join(one["did"]["way"] for one in line["targets"])
    return (
        f"{line['source']}, {line['name']}: similarity of sources {similarity[0]}, of targets {similarity[1]} ({ways})"
    )


def _advice(lines: Sequence[Line]) -> list[str]:
    """A warning about the photos as a whole."""
    faces = sum(line["face"] for line in lines)
    if not 0 < faces < _FEW:
        return []
    return [
        f"there {'is' if faces == 1 else 'are'} only {node_ui.plural(faces, 'face')} to borrow hair, background and "
        "features from, too few for training; use at least a dozen photos at once, with another filename_prefix"
    ]


def _row(folder: Path, line: Line) -> list[Tensor]:
    """The images of one photo, (1, 3, S, S) each."""
    source, target = line["sources"][0], line["targets"][0]
    names = [line["name"], source["file"], target["file"], *target["bent"]]
    return [images.read(folder / PROXY / line["name"] / name) for name in names]


def _sheet(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Images in rows of five on one sheet, as an IMAGE; an empty batch if there are no rows."""
    if not rows:
        return host.pixels(torch.zeros(0, 3, _CELL, 5 * _CELL))
    cells = [[nnf.interpolate(one, (_CELL, _CELL), mode="bilinear", antialias=True) for one in row] for row in rows]
    return host.pixels(torch.cat([torch.cat(row, -1) for row in cells], -2))
