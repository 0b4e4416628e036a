"""Detectors and recognisers by name: the bundled ones, SCRFD, and insightface packs in the user's folders."""

from __future__ import annotations

from pathlib import Path

import torch

from ...hub.onnx.runner import load_runner
from ...hub.registry import MODELS
from ...hub.store import Store, listing, lookup, resolve
from ...io.files import BadInput
from ..identity import Encoder
from .base import Detector
from .insightface import load_pack, packs
from .scrfd import SCRFD

DEFAULT_DETECTOR = "lite"
KNOWN_PACKS = ("buffalo_l", "antelopev2")  # listed even if missing, so that users learn how to get them
_SCRFD = tuple(name for name, spec in MODELS.items() if spec.role == "detector")


def detectors(store: Store) -> list[str]:
    """The selectable names: the bundled detector, SCRFD files that are installed, and packs."""
    files = listing(store)
    single = [name for name in _SCRFD if lookup(files, MODELS[name])]
    return [DEFAULT_DETECTOR, *single, *dict.fromkeys((*KNOWN_PACKS, *packs(_folders(store))))]


def available(store: Store) -> list[str]:
    """The detectors whose files are installed."""
    found = packs(_folders(store))
    return [name for name in detectors(store) if name not in KNOWN_PACKS or name in found]


def load_detector(
    name: str, store: Store, device: torch.device | str = "cpu", sessions: torch.device | str | None = None
) -> tuple[Detector, Encoder | None]:
    """A detector that is not bundled, with the recogniser of its pack if it has one. `sessions` is the device for
    onnxruntime, `device` if not given. Raises BadInput, saying what to do, for an unknown name or if a file or package
    is missing."""
    if name in _SCRFD:
        spec = MODELS[name]
        if path := resolve(store, spec):
            return SCRFD(load_runner(path, device, sessions)), None
        raise BadInput(
            f"detector {name}: {spec.file} is not installed; `cscs models` shows where to get it and where to put it"
        )
    found = packs(_folders(store))
    if name in found:
        return load_pack(found[name], sessions or device)
    if name in KNOWN_PACKS:
        raise BadInput(
            f"detector {name}: put its .onnx files into {store.home / 'models' / name} (an insightface pack, for "
            "non-commercial research only) and run `pip install insightface onnxruntime`; the detector "
            f"{DEFAULT_DETECTOR} needs neither"
        )
    raise BadInput(f"unknown detector {name!r}; choose one of {', '.join(detectors(store))}")


def _folders(store: Store) -> tuple[Path, ...]:
    return (store.home, *store.others)
