"""Proxy Pairs: photographs become training data in the output folder, as `cscs pairs` makes it."""

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
from . import host, loaded, node_ui, sockets

_ROWS, _CELL = 12, 192  # of the sheet: photographs at most, and px
_FEW = 6  # faces below which the user is warned


class ProxyPairs(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_ProxyPairs",
            display_name="Proxy Pairs (CSCS)",
            category="CSCS",
            description="Makes training data of photographs and writes it to the output folder, in the layout of the "
            "CSCS release: each person otherwise, somebody else in each person's place, and a manifest. `cscs train` "
            "learns from that folder.",
            search_aliases=["training data", "dataset", "surrogates", "proxy data", "train swapper"],
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Photographs, a person in each; the largest face counts. They lend each other hair, "
                    "background and faces, so give a dozen or more of different people.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="cscs/pairs",
                    tooltip="Where in the output folder the pairs go. Size, seed and number are appended: with the "
                    "same ones the work goes on where it was stopped.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,  # not said, the page gives every seed one, which draws another
                    tooltip="Another number, other pictures in another folder. Keep it fixed to add photographs to a "
                    "folder or to go on.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many sources and how many targets are made of each photograph. Raise it when there "
                    "are few photographs.",
                ),
                io.Int.Input(
                    "size",
                    default=256,
                    min=64,
                    max=1024,
                    step=64,
                    tooltip="Pixels along a side of the pictures written: what the swapper is trained at, or more.",
                ),
                sockets.Detector.Input(
                    "detector",
                    optional=True,
                    tooltip="From Load Model: what finds the faces and says how alike they are. Not connected, the "
                    "bundled one.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "preview",
                    tooltip="A row per photograph: face, source, target, target with a thinner and with a chubbier "
                    "face.",
                ),
                io.String.Output("report", tooltip="What became of each photograph, and why some became nothing."),
                io.String.Output("folder", tooltip="Where in the output folder everything is."),
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
            return io.NodeOutput(_sheet([]), "no image came in", folder.as_posix(), ui=node_ui.badge("no image"))
        tools = Tools(loaded.ready(image, detector), host.raise_if_cancelled)
        everything, _ = make_pairs(photographs, output / folder, plan, tools=tools, track=_track)
        told = {line["name"]: line for line in everything}
        lines = [told[name] | {"source": one.source} for name, one in photographs.items()]
        preview = _sheet([_row(output / folder, line) for line in lines if "skipped" not in line][:_ROWS])
        report = "\n".join([f"{folder.as_posix()}: {summary(everything)}", *map(_told, lines), *_advice(lines)])
        made = sum("skipped" not in line for line in lines)
        ui = node_ui.pictures(preview) | node_ui.badge(f"pairs of {made} of {len(lines)} photographs")
        return io.NodeOutput(preview, report, folder.as_posix(), ui=ui)


def inside(folder: Path, name: str) -> Path:
    """A name as a path below a folder, with nothing in it that a file system might object to. Raises ValueError if it
    leads out of the folder all the same, through a link."""
    parts = [re.sub(r"[^\w .()+-]", "_", part).strip(" .")[:100] for part in re.split(r"[\\/]+", name)]
    path = Path(*(part for part in parts if part))
    if not Path(os.path.realpath(folder / path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"filename_prefix {name!r} leads out of the output folder; choose another one")
    return path


def _photographs(image: Tensor) -> list[PhotographInMemory]:
    return [PhotographInMemory(one, f"image {index}") for index, one in enumerate(host.photos(image))]


def _track(names: Sequence[str], doing: str) -> Iterator[str]:
    return host.with_progress(names)


def _told(line: Line) -> str:
    """What became of a photograph."""
    if "skipped" in line:
        return f"{line['source']}: {line['skipped']}"
    likeness = [", ".join(f"{one['similarity']:.2f}" for one in line[kind]) for kind in ("sources", "targets")]
    ways = ", ".join(one["did"]["way"] for one in line["targets"])
    return f"{line['source']}, {line['name']}: likeness of sources {likeness[0]}, of targets {likeness[1]} ({ways})"


def _advice(lines: Sequence[Line]) -> list[str]:
    """What is wrong with the photographs as a whole."""
    faces = sum(line["face"] for line in lines)
    if not 0 < faces < _FEW:
        return []
    return [
        f"{node_ui.plural(faces, 'face')} can lend hair, background and features here, which is too few to learn from; "
        "give a dozen photographs or more at once, with another filename_prefix"
    ]


def _row(folder: Path, line: Line) -> list[Tensor]:
    """The pictures of one photograph, (1, 3, S, S) each."""
    source, target = line["sources"][0], line["targets"][0]
    names = [line["name"], source["file"], target["file"], *target["bent"]]
    return [images.read(folder / PROXY / line["name"] / name) for name in names]


def _sheet(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Pictures in rows of five, as an IMAGE of one sheet; of no rows none."""
    if not rows:
        return host.pixels(torch.zeros(0, 3, _CELL, 5 * _CELL))
    cells = [[nnf.interpolate(one, (_CELL, _CELL), mode="bilinear", antialias=True) for one in row] for row in rows]
    return host.pixels(torch.cat([torch.cat(row, -1) for row in cells], -2))
