"""Load Model: networks by name, for the nodes that have an input for one."""

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
    "detector": "The face detector. Other detectors find smaller and more strongly turned faces than lite.",
    "swapper": "The network that swaps the face.",
    "restorer": "The network that makes faces clearer.",
}


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = listing(loaded.store())
        return io.Schema(
            node_id="CSCS_LoadModel",
            display_name="Load Model (CSCS)",
            category="CSCS",
            description="Selects networks other than the bundled ones for the other nodes. It lists the files in "
            "models/cscs and in the folders of other packs, and downloads nothing.",
            search_aliases=["model loader", "face model", "load swapper", "load restorer", "inswapper", "gfpgan"],
            inputs=[
                *(
                    io.Combo.Input(
                        role,
                        options=names,
                        default="lite",
                        tooltip="\n".join([what, *(f"{name}: {_status(role, name, files)}" for name in names)]),
                    )
                    for (role, what), names in zip(_WHAT.items(), _installed().values(), strict=True)
                ),
                io.Combo.Input(
                    "device",
                    options=list(loaded.DEVICES),
                    default=loaded.DEVICES[0],
                    optional=True,
                    advanced=True,
                    tooltip="auto is ComfyUI's device. Choose cpu if GPU memory is needed for something else, or if a "
                    "network fails on the GPU.",
                ),
            ],
            outputs=[
                sockets.Detector.Output("detector", tooltip="For the detector input of other nodes."),
                sockets.Swapper.Output("swapper", tooltip="For the swapper input of Swap Faces."),
                sockets.Restorer.Output("restorer", tooltip="For the restorer input of Restore Faces."),
                io.String.Output("info", tooltip="Licence and status of each of the three, one line each."),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector: str | None, swapper: str | None, restorer: str | None) -> bool | str:
        """A file may be gone since the workflow was saved. A name is None if it comes from another node that has not
        run yet."""
        try:
            _check({"detector": detector, "swapper": swapper, "restorer": restorer})
        except ValueError as error:
            return str(error)
        return True

    fingerprint_inputs = loaded.fingerprint

    @classmethod
    def execute(cls, detector: str, swapper: str, restorer: str, device: str = "auto") -> io.NodeOutput:
        names = {"detector": detector, "swapper": swapper, "restorer": restorer}
        _check(names)
        files = listing(loaded.store())
        info = [f"{role} {name}: {_status(role, name, files)}" for role, name in names.items()]
        chosen = [
            loaded.Choice("detector", detector, device),
            loaded.Choice("swapper", swapper, device),
            loaded.Choice("restorer", restorer, device),
        ]
        return io.NodeOutput(*chosen, "\n".join(info))


def _installed() -> dict[str, list[str]]:
    """For each role the names whose files are installed."""
    store = loaded.store()
    return {
        "detector": detectors.available(store),
        "swapper": swappers.available(store),
        "restorer": restorers.available(store),
    }


def _check(names: Mapping[str, str | None]) -> None:
    """Raises ValueError for a name whose files are missing; None passes."""
    installed = _installed()
    for role, name in names.items():
        if name is not None and name not in installed[role]:
            raise ValueError(
                f"{role} {name}: its files are missing; put them into {loaded.store().home}, or choose "
                f"{' or '.join(installed[role])}"
            )


def _status(role: str, name: str, files: dict[str, Path]) -> str:
    """Licence and status of an installed model."""
    if name in _BUNDLED:
        return "bundled; research, non-commercial"
    spec = MODELS.get("cscs_generator" if name == "cscs" else name)
    if spec is None:
        return "insightface pack, usually for non-commercial research; needs insightface and onnxruntime"
    path = restorers.file_of(name, files) if role == "restorer" else lookup(files, spec)
    terms = spec.licence + (", non-commercial" if spec.noncommercial and "non-commercial" not in spec.licence else "")
    return f"{terms}; {_state(role, path)}"


def _state(role: str, path: Path | None) -> str:
    if path is None:  # deleted since it was listed
        return "missing"
    package = "spandrel" if role == "restorer" else "onnxruntime"
    if path.suffix == ".safetensors" and role != "restorer":
        return f"{path.name}, runs in torch"
    return (
        f"{path.name}, runs in {package}"
        if find_spec(package)
        else f"{path.name}, needs {package}: pip install {package}"
    )
