"""`cscs models` and `cscs fetch`: which models of others are here, and how they come here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ..hub.convert import convert
from ..hub.download import fetch
from ..hub.registry import GROUPS, MODELS, ModelSpec
from ..hub.store import Store, accept, accepted, default_store, find, import_file
from ..hub.weights import read
from ..io.console import say, tracked, tracked_bytes
from ..io.files import BadInput, check_writable, write_json

After = Callable[[ModelSpec, Path], None]  # what happens to a file once it is here

_OURS = ("aei", "iresnet", "id_adapter")  # architectures that are converted to be loaded


def run_models(options: argparse.Namespace) -> int:
    """Says of every model whether it is here, can be fetched or has to be brought; --json adds where and from where."""
    if options.json is not None:
        check_writable(options.json)
    store = default_store()
    found = {spec.name: find(store, spec) for spec in tracked(list(MODELS.values()), "models")}
    rows = [("name", "role", "state", "size", "licence")]
    rows += [
        (spec.name, spec.role, _state(spec, found[spec.name]), _size(spec.bytes), spec.licence)
        for spec in MODELS.values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    say(f"Bring what is missing: into {store.home}, or with `cscs fetch NAME --from FOLDER`.")
    if options.json is not None:
        write_json(options.json, [_described(spec, found[spec.name]) for spec in MODELS.values()])
    return 0


def run_fetch(options: argparse.Namespace, after: After | None = None) -> int:
    """Gets the models that are named, from the Hub or a folder, once their terms are accepted; then `after` with each,
    also with those that were here already."""
    store = default_store()
    specs = _named(options.names)
    found = {spec.name: find(store, spec) for spec in tracked(specs, "models")}
    missing = [spec for spec in specs if found[spec.name] is None]
    if options.folder is None:
        for spec in missing:
            if not spec.fetchable:
                raise BadInput(
                    f"{spec.name}: bring {spec.file} from {spec.url}, into {store.home} or with --from FOLDER"
                )
    if after is not None and any(spec.arch in _OURS for spec in specs) and not find_spec("onnx"):
        raise BadInput("what is fetched has to be converted afterwards: pip install onnx, then fetch it")
    _agree(store, missing, options.accept)
    for spec in specs:
        path = found[spec.name]
        if path is None:
            with tracked_bytes(spec.file) as progress:
                path = import_file(store, spec, options.folder) if options.folder else fetch(store, spec, progress)
        say(f"{spec.name}: {path}")
        if after is not None:
            after(spec, path)
    return 0


def ready(spec: ModelSpec, path: Path) -> None:
    """Makes of a network of CSCS, once it is here, the safetensors that the swapper loads; others run as they are."""
    store = default_store()
    if spec.arch not in _OURS or _whole(store.home / f"{spec.name}.safetensors"):
        return
    for made, what in convert(path, store.home).items():
        say(f"{made}: {what}")


def _whole(path: Path) -> bool:
    """Whether the weights are there and can be read."""
    try:
        return bool(read(path))
    except BadInput:
        return False


def _named(names: list[str]) -> list[ModelSpec]:
    """The models of these names and groups, each once."""
    known = {**{name: (name,) for name in MODELS}, **GROUPS}
    if strange := [name for name in names if name not in known]:
        raise BadInput(f"{strange[0]}: no such model; there are {', '.join((*GROUPS, *MODELS))}")
    return [MODELS[name] for name in dict.fromkeys(name for given in names for name in known[given])]


def _agree(store: Store, specs: list[ModelSpec], agreed: bool) -> None:
    """Shows the terms of what is about to come and has those that are non-commercial accepted, once."""
    for spec in specs:
        say(f"{spec.name}: {spec.file}, {_size(spec.bytes)}, {spec.licence}. {spec.terms}")
    asked = [spec for spec in specs if spec.noncommercial and not accepted(store, spec)]
    if asked and not agreed:
        names = ", ".join(spec.name for spec in asked)
        if not sys.stdin.isatty():
            raise BadInput(f"{names}: the terms above have to be accepted: --accept")
        say("Do you accept these terms? [y/N]")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise BadInput(f"{names}: the terms were not accepted; nothing was fetched")
    for spec in asked:
        accept(store, spec)


def _state(spec: ModelSpec, path: Path | None) -> str:
    if path is not None:
        return "there"
    return "can be fetched" if spec.fetchable else "missing"


def _size(count: int | None) -> str:
    if not count:
        return "?"
    return f"{count / 1_000_000:.0f} MB"


def _described(spec: ModelSpec, path: Path | None) -> dict:
    return {
        "name": spec.name,
        "role": spec.role,
        "state": _state(spec, path),
        "path": None if path is None else str(path),
        "file": spec.file,
        "bytes": spec.bytes,
        "sha256": spec.sha256,
        "licence": spec.licence,
        "noncommercial": spec.noncommercial,
        "terms": spec.terms,
        "url": spec.url,
    }
