"""The command line: `cscs demo | detect | swap | pairs | train | models | fetch | convert | export`.

Exit codes: 0 done, 2 bad input, 1 a fault of ours (a traceback).
"""

from __future__ import annotations

import argparse
import io
import sys
from functools import partial
from pathlib import Path

from .commands import convert as cmd_convert
from .commands import demo as cmd_demo
from .commands import detect as cmd_detect
from .commands import export
from .commands import pairs as cmd_pairs
from .commands import swap as cmd_swap
from .commands import train as cmd_train
from .commands.export import SIGNATURES
from .commands.models import ready, run_fetch, run_models
from .faces.detectors.catalogue import DEFAULT_DETECTOR
from .faces.select import ORDERS
from .faces.swappers.catalogue import DEFAULT_SWAPPER, SWAPPERS
from .io.console import complain
from .io.files import BadInput
from .train.swap.presets import PRESETS

_COMMANDS = {
    "demo": cmd_demo.run,
    "detect": cmd_detect.run,
    "swap": cmd_swap.run,
    "pairs": cmd_pairs.run,
    "train": cmd_train.run,
    "models": run_models,
    "fetch": partial(run_fetch, after=ready),
    "convert": cmd_convert.run,
    "export": export.run,
}


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
    options = parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except BadInput as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("stopped")
        return 130


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="cscs",
        description="Puts the face of one person onto others in photographs. Use faces of people who agreed, and say "
        "so when you publish a result.",
    )
    commands = whole.add_subparsers(
        dest="command",
        required=True,
        metavar="demo | detect | swap | pairs | train | models | fetch | convert | export",
    )

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda, cuda:1 ...")

    finding = argparse.ArgumentParser(add_help=False, parents=[common])
    finding.add_argument("--order", choices=ORDERS, default="large-small", help="how faces are numbered in a picture")
    finding.add_argument("--detection", type=_share, default=0.5, metavar="0..1", help="score from which it is a face")
    finding.add_argument(
        "--detector",
        default=DEFAULT_DETECTOR,
        metavar="NAME",
        help="lite, scrfd_10g, scrfd_2.5g, or a pack such as buffalo_l",
    )
    finding.add_argument("--json", type=Path, metavar="FILE", help="write a report")

    swapping = argparse.ArgumentParser(add_help=False)
    swappers = f"{', '.join(SWAPPERS)}, or the folder of a run of `cscs train`; default: {DEFAULT_SWAPPER}"
    swapping.add_argument("--swapper", default=DEFAULT_SWAPPER, metavar="NAME", help=swappers)

    demo = commands.add_parser("demo", parents=[common, swapping], help="swap the bundled example people")
    demo.add_argument("--out", type=Path, default=Path("out/demo.png"), help="the grid: source | target | result")

    detect = commands.add_parser("detect", parents=[finding], help="say where the faces are")
    detect.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="pictures, or folders of pictures")

    swap = commands.add_parser("swap", parents=[finding, swapping], help="put the source's face into the targets")
    path = {"type": Path, "required": True, "metavar": "PATH"}
    swap.add_argument("--source", nargs="+", **path, help="photos of ONE person, or a folder of them")
    swap.add_argument(
        "--weights",
        type=float,
        nargs="+",
        metavar="W",
        help="how much each source photo counts; for lite and warp, which are used",
    )
    swap.add_argument("--target", nargs="+", **path, help="the pictures to change, or a folder of them")
    swap.add_argument("--output", **path, help="a file for one target, a folder for several")
    swap.add_argument(
        "--size", type=int, metavar="PX", help="side of the face while it is worked on; default: the best"
    )
    swap.add_argument("--strength", type=_share, default=1.0, metavar="0..1", help="less keeps more of the target")
    swap.add_argument("--face", type=int, nargs="+", metavar="N", help="only these faces, counted from 0 by --order")
    swap.add_argument("--reference", type=Path, nargs="+", metavar="PATH", help="only the person of these photos")
    swap.add_argument(
        "--threshold", type=_cosine, default=0.5, metavar="-1..1", help="similarity from which it is that person"
    )
    swap.add_argument(
        "--balance", type=float, nargs=2, metavar=("ENCODER", "ADAPTER"), help="cscs only: how its two identities count"
    )
    swap.add_argument("--quad", action="store_true", help="cscs only: align by 68 points, as the release, not by five")
    swap.add_argument(
        "--restore", metavar="NAME|FILE", help="make faces clearer: lite (bundled), GFPGAN, RestoreFormer, CodeFormer"
    )
    swap.add_argument("--restore-blend", type=_share, default=0.8, metavar="0..1", help="how much of the restored face")
    swap.add_argument(
        "--restore-weight",
        type=_share,
        default=0.5,
        metavar="0..1",
        help="CodeFormer only: more keeps the face as it is",
    )
    swap.add_argument("--no-provenance", dest="provenance", action="store_false", help="leave out the synthetic note")

    pairs = commands.add_parser("pairs", help="make training data of a folder of photographs")
    pairs.add_argument(
        "photos", type=Path, metavar="IN", help="a folder of photographs; the largest face of each counts"
    )
    pairs.add_argument(
        "out", type=Path, metavar="OUT", help="normal_data, proxy_data and manifest.jsonl; begun before: goes on"
    )
    pairs.add_argument("--size", type=int, default=256, metavar="PX", help="side of the face crops")
    pairs.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed makes the same pictures")
    pairs.add_argument("--count", type=int, default=1, metavar="N", help="sources of each photograph, and targets")
    pairs.add_argument("--jobs", type=int, metavar="N", help="processes, 0.5 GB each at 256 px; default: one a core")

    train = commands.add_parser("train", help="train a swapper; docs/training.md says how")
    train.add_argument("preset", metavar="PRESET", help=", ".join(PRESETS))
    train.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="has normal_data and proxy_data")
    train.add_argument("--out", type=Path, metavar="FOLDER", help="the run, new or to go on with; default: runs/PRESET")
    train.add_argument("--steps", type=int, metavar="N", help="how long, in place of what the preset says")
    train.add_argument("--minutes", type=float, metavar="M", help="how long, in place of what the preset says")
    train.add_argument("--batch", type=int, metavar="N", help="pairs of each sort a step, over all processes")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed learns the same")
    train.add_argument("--encoder", type=Path, metavar="FILE", help="the frozen encoder, in place of the preset's")
    train.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="begin with a run's swapper, or with CSCS's files"
    )
    train.add_argument("--precision", choices=("no", "bf16"), default="no", help="mixed precision, for new GPUs")
    train.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto: CUDA or MPS if there is one")
    train.add_argument(
        "--on-the-fly",
        action="store_true",
        help="make new surrogates of normal_data at every step; read no proxy_data",
    )
    train.add_argument("--tensorboard", action="store_true", help="write its events, too")
    train.add_argument("--dry-run", action="store_true", help="say what it would take, write nothing")

    models = commands.add_parser("models", help="which models of others are here, can be fetched or have to be brought")
    models.add_argument("--json", type=Path, metavar="FILE", help="write the table, with hashes, terms and addresses")

    fetch = commands.add_parser("fetch", help="get models from the Hub, or from a folder")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="names of `cscs models`, or cscs for its three files")
    fetch.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help="look for the files here instead")
    fetch.add_argument("--accept", action="store_true", help="accept the terms shown, for scripts")

    convert = commands.add_parser("convert", help="make safetensors of pickles and ONNX files")
    convert.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".pth, .pth.tar, .ckpt, .onnx, .safetensors"
    )
    convert.add_argument("--out", type=Path, metavar="FOLDER", help="default: the folder that `cscs models` names")
    convert.add_argument("--adapter", choices=("concat", "replace"), help="the kind of an ID adapter that shows none")
    convert.add_argument("--half", action="store_true", help="half floats: half the size")
    convert.add_argument("--licence", metavar="TEXT", help="a note for the file")

    export = commands.add_parser("export", help="a bundled network as ONNX, for other programs")
    export.add_argument("name", choices=SIGNATURES, help="what each takes and gives is in the model card")
    export.add_argument("file", type=Path, metavar="FILE.onnx")
    return whole


def _share(text: str) -> float:
    return _between(text, 0, 1)


def _cosine(text: str) -> float:
    return _between(text, -1, 1)


def _between(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is no number in {low}..{high}")
    return value


if __name__ == "__main__":
    sys.exit(main())
