"""Load Model: networks by name, for the nodes that have a socket for one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from comfy_api.latest import io

from ..cscs_core.faces.detectors import catalogue as detectors
from ..cscs_core.faces.restorers import catalogue as restorers
from ..cscs_core.faces.swappers import catalogue as swappers
from ..cscs_core.hub.registry import MODELS
from ..cscs_core.hub.store import listing, lookup
from . import loaded, sockets

_BUNDLED = ("lite", "warp")
_WHAT = {
    "detector": "What finds faces; others find smaller and more turned ones than lite.",
    "swapper": "What makes the face.",
    "restorer": "What makes faces clearer.",
}


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = listing(loaded.store())
        return io.Schema(
            node_id="CSCS_LoadModel",
            display_name="Load Model (CSCS)",
            category="CSCS",
            description="Chooses networks other than the bundled ones for the other nodes. Lists what lies in "
            "models/cscs and in the folders of other packs; nothing is downloaded.",
            search_aliases=["model loader", "face model", "load swapper", "load restorer", "inswapper", "gfpgan"],
            inputs=[
                *(
                    io.Combo.Input(
                        role,
                        options=names,
                        default="lite",
                        tooltip="\n".join([what, *(f"{name}: {_said(role, name, files)}" for name in names)]),
                    )
                    for (role, what), names in zip(_WHAT.items(), _there().values(), strict=True)
                ),
                io.Combo.Input(
                    "device",
                    options=list(loaded.DEVICES),
                    default=loaded.DEVICES[0],
                    optional=True,
                    advanced=True,
                    tooltip="auto is where ComfyUI computes. cpu when the graphics card's memory is needed for "
                    "something else, or a network fails on it.",
                ),
            ],
            outputs=[
                sockets.Detector.Output("detector", tooltip="For the detector input of other nodes."),
                sockets.Swapper.Output("swapper", tooltip="For the swapper input of Swap Faces."),
                sockets.Restorer.Output("restorer", tooltip="For the restorer input of Restore Faces."),
                io.String.Output("info", tooltip="Licence and state of each of the three, one line each."),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector: str | None, swapper: str | None, restorer: str | None) -> bool | str:
        """A file may have gone since the workflow was saved. A name is None while another node still has to make it."""
        try:
            _check({"detector": detector, "swapper": swapper, "restorer": restorer})
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, detector: str, swapper: str, restorer: str, device: str = "auto") -> str:
        """Changes when a model file comes, goes or is exchanged."""
        return repr(loaded.files())

    @classmethod
    def execute(cls, detector: str, swapper: str, restorer: str, device: str = "auto") -> io.NodeOutput:
        names = {"detector": detector, "swapper": swapper, "restorer": restorer}
        _check(names)
        files = listing(loaded.store())
        info = [f"{role} {name}: {_said(role, name, files)}" for role, name in names.items()]
        chosen = [
            loaded.Choice("detector", detector, device),
            loaded.Choice("swapper", swapper, device),
            loaded.Choice("restorer", restorer, device),
        ]
        return io.NodeOutput(*chosen, "\n".join(info))


def _there() -> dict[str, list[str]]:
    """The names of each role whose files are here."""
    store = loaded.store()
    return {
        "detector": detectors.available(store),
        "swapper": swappers.available(store),
        "restorer": restorers.available(store),
    }


def _check(names: Mapping[str, str | None]) -> None:
    """Raises ValueError for a name whose files are not here; None passes."""
    there = _there()
    for role, name in names.items():
        if name is not None and name not in there[role]:
            raise ValueError(
                f"{role} {name}: its files are not there (any more); put them into {loaded.store().home}, or choose "
                f"{' or '.join(there[role])}"
            )


def _said(role: str, name: str, files: dict[str, Path]) -> str:
    """Licence and state of a model that is here."""
    if name in _BUNDLED:
        return "bundled; research, non-commercial"
    spec = MODELS.get("cscs_generator" if name == "cscs" else name)
    if spec is None:
        return "insightface pack, most for non-commercial research; needs insightface and onnxruntime"
    path = restorers.file_of(name, files) if role == "restorer" else lookup(files, spec)
    terms = spec.licence + (", non-commercial" if spec.noncommercial and "non-commercial" not in spec.licence else "")
    return f"{terms}; {_state(role, path)}"


def _state(role: str, path: Path | None) -> str:
    if path is None:  # gone between two looks
        return "not there"
    package = "spandrel" if role == "restorer" else "onnxruntime"
    if path.suffix == ".safetensors" and role != "restorer":
        return f"{path.name}, in torch"
    return (
        f"{path.name}, with {package}" if find_spec(package) else f"{path.name}, needs {package}: pip install {package}"
    )
