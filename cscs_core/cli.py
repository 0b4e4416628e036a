"""The command line: `cscs demo | detect | swap | pairs | train | models | fetch | convert | export`.

Exit codes: 0 success, 1 internal error (with a traceback), 2 bad input, 130 interrupted by Ctrl+C.
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
    """Runs a command and returns its exit code. Wrong options raise SystemExit(2), as argparse does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the terminal may lack characters of file names
    options = parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except BadInput as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and options."""
    whole = argparse.ArgumentParser(
        prog="cscs",
        description="Swaps faces in photos. Use only faces of people who have agreed, and label the results that you "
        "publish.",
    )
    commands = whole.add_subparsers(
        dest="command",
        required=True,
        metavar="demo | detect | swap | pairs | train | models | fetch | convert | export",
    )

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", default="auto", help="auto (CUDA if available), cpu, cuda, cuda:1 ...")

    finding = argparse.ArgumentParser(add_help=False, parents=[common])
    finding.add_argument(
        "--order", choices=ORDERS, default="large-small", help="how the faces of a picture are numbered"
    )
    finding.add_argument(
        "--detection", type=_share, default=0.5, metavar="0..1", help="minimum detection score of a face"
    )
    finding.add_argument(
        "--detector",
        default=DEFAULT_DETECTOR,
        metavar="NAME",
        help="lite, scrfd_10g, scrfd_2.5g, or an InsightFace pack such as buffalo_l",
    )
    finding.add_argument("--json", type=Path, metavar="FILE", help="write a JSON report")

    swapping = argparse.ArgumentParser(add_help=False)
    swappers = f"{', '.join(SWAPPERS)}, or the run folder of `cscs train`; default: {DEFAULT_SWAPPER}"
    swapping.add_argument("--swapper", default=DEFAULT_SWAPPER, metavar="NAME", help=swappers)

    demo = commands.add_parser("demo", parents=[common, swapping], help="swap faces between the bundled example people")
    demo.add_argument(
        "--out", type=Path, default=Path("out/demo.png"), help="output image: a grid of source | target | result"
    )

    detect = commands.add_parser("detect", parents=[finding], help="locate the faces in pictures")
    detect.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="pictures, or folders of pictures")

    swap = commands.add_parser("swap", parents=[finding, swapping], help="swap the source's face into the targets")
    path = {"type": Path, "required": True, "metavar": "PATH"}
    swap.add_argument("--source", nargs="+", **path, help="photos of ONE person, or a folder of them")
    swap.add_argument(
        "--weights",
        type=float,
        nargs="+",
        metavar="W",
        help="weight of each source photo; for lite and warp, 0 leaves a photo out and other values count alike",
    )
    swap.add_argument("--target", nargs="+", **path, help="pictures to change, or a folder of them")
    swap.add_argument("--output", **path, help="output file for one target, output folder for several")
    swap.add_argument(
        "--size", type=int, metavar="PX", help="side of the aligned crop; default: the best for the swapper"
    )
    swap.add_argument(
        "--strength", type=_share, default=1.0, metavar="0..1", help="lower values keep more of the target face"
    )
    swap.add_argument(
        "--face", type=int, nargs="+", metavar="N", help="swap only these faces, numbered from 0 in --order"
    )
    swap.add_argument("--reference", type=Path, nargs="+", metavar="PATH", help="swap only the person in these photos")
    swap.add_argument(
        "--threshold", type=_cosine, default=0.5, metavar="-1..1", help="minimum similarity to the --reference person"
    )
    swap.add_argument(
        "--balance",
        type=float,
        nargs=2,
        metavar=("ENCODER", "ADAPTER"),
        help="cscs only: weights of its two identity embeddings",
    )
    swap.add_argument(
        "--quad", action="store_true", help="cscs only: align by 68 landmarks, as the original CSCS, not by 5"
    )
    swap.add_argument(
        "--restore",
        metavar="NAME|FILE",
        help="restore the swapped faces: lite (bundled), GFPGAN, RestoreFormer, CodeFormer",
    )
    swap.add_argument("--restore-blend", type=_share, default=0.8, metavar="0..1", help="opacity of the restored face")
    swap.add_argument(
        "--restore-weight",
        type=_share,
        default=0.5,
        metavar="0..1",
        help="CodeFormer only: higher values stay closer to the input face",
    )
    swap.add_argument(
        "--no-provenance", dest="provenance", action="store_false", help="do not write the AI-edited metadata"
    )

    pairs = commands.add_parser("pairs", help="make training data from a folder of photos")
    pairs.add_argument("photos", type=Path, metavar="IN", help="folder of photos; the largest face of each is used")
    pairs.add_argument("out", type=Path, metavar="OUT", help="output folder; an unfinished one is continued")
    pairs.add_argument("--size", type=int, default=256, metavar="PX", help="side of the aligned crops")
    pairs.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed; the same seed makes the same pictures"
    )
    pairs.add_argument(
        "--count", type=int, default=1, metavar="N", help="number of sources, and of targets, made from each photo"
    )
    pairs.add_argument(
        "--jobs", type=int, metavar="N", help="processes, 0.5 GB of memory each at 256 px; default: one per core"
    )

    train = commands.add_parser("train", help="train a swapper; see docs/training.md")
    train.add_argument("preset", metavar="PRESET", help=", ".join(PRESETS))
    train.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="folder with normal_data and proxy_data"
    )
    train.add_argument("--out", type=Path, metavar="FOLDER", help="run folder, new or to resume; default: runs/PRESET")
    train.add_argument("--steps", type=int, metavar="N", help="length in steps, instead of the preset's")
    train.add_argument("--minutes", type=float, metavar="M", help="length in minutes, instead of the preset's")
    train.add_argument(
        "--batch", type=int, metavar="N", help="batch size: pairs of each kind per step, over all processes"
    )
    train.add_argument("--seed", type=int, default=0, metavar="N", help="random seed; the same seed gives the same run")
    train.add_argument("--encoder", type=Path, metavar="FILE", help="frozen identity encoder, instead of the preset's")
    train.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="initial weights: a run folder, or a folder with the CSCS files"
    )
    train.add_argument("--precision", choices=("no", "bf16"), default="no", help="mixed precision, for recent GPUs")
    train.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto: CUDA or MPS if available")
    train.add_argument(
        "--on-the-fly",
        action="store_true",
        help="make new surrogates from normal_data at every step instead of reading proxy_data",
    )
    train.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    train.add_argument(
        "--dry-run", action="store_true", help="report the time and memory that the run would take, write nothing"
    )

    models = commands.add_parser(
        "models", help="list third-party models: installed, downloadable, or to be added by hand"
    )
    models.add_argument(
        "--json", type=Path, metavar="FILE", help="write the table as JSON, with hashes, licence terms and URLs"
    )

    fetch = commands.add_parser("fetch", help="download models from the Hugging Face Hub, or copy them from a folder")
    fetch.add_argument(
        "names", nargs="+", metavar="NAME", help="a name listed by `cscs models`, or cscs for its three files"
    )
    fetch.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="copy the files from this folder instead"
    )
    fetch.add_argument("--accept", action="store_true", help="accept the licence terms without asking, for scripts")

    convert = commands.add_parser("convert", help="convert pickles and ONNX files to safetensors")
    convert.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".pth, .pth.tar, .ckpt, .onnx, .safetensors"
    )
    convert.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: the model folder that `cscs models` prints"
    )
    convert.add_argument(
        "--adapter", choices=("concat", "replace"), help="kind of the ID adapter, if its file does not tell"
    )
    convert.add_argument("--half", action="store_true", help="store float16 weights: half the file size")
    convert.add_argument("--licence", metavar="TEXT", help="licence note to store in the file")

    export = commands.add_parser("export", help="export a bundled network as ONNX for other programs")
    export.add_argument("name", choices=SIGNATURES, help="inputs and outputs are described in the model card")
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
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in {low}..{high}")
    return value


if __name__ == "__main__":
    sys.exit(main())
