"""What is asked for, what is pinned and what is imported agree with each other."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest

packaging = pytest.importorskip("packaging.requirements")
tomllib: Any = pytest.importorskip("tomllib", reason="Python 3.11 or newer")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = (ROOT / "constraints.txt").read_text("utf-8")
NOT_PINNED = {
    "torch",
    "spandrel",
}  # torch's build is the machine's affair, spandrel needs the torchvision of that build


def required(*extras: str) -> list[Any]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [packaging.Requirement(line) for line in lines]


def of_the_host() -> list[Any]:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return [packaging.Requirement(line) for line in lines if not line.startswith("#")]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", PINS):
        pins.setdefault(canonical(name), []).append(version)
    wanted = [one for one in required(*PROJECT["optional-dependencies"]) if canonical(one.name) not in NOT_PINNED]
    stale = [
        str(one) for one in wanted if not all(map(one.specifier.contains, pins.get(canonical(one.name), ["none"])))
    ]
    assert not stale, f"constraints.txt is older than pyproject.toml, run `make lock`: {stale}"


def test_nothing_is_pinned_as_ours_that_is_no_longer_asked_for() -> None:
    blocks = re.findall(r"(?m)^([\w.-]+)==.*\n((?:    #.*\n?)+)", PINS)
    ours = {canonical(name) for name, why in blocks if PROJECT["name"] in why}
    wanted = {canonical(one.name) for one in required(*PROJECT["optional-dependencies"])} - NOT_PINNED
    assert ours == wanted, "constraints.txt is older than pyproject.toml, run `make lock`"


def test_the_host_keeps_its_versions() -> None:
    """Of what ComfyUI has, requirements.txt asks for no more than pyproject.toml does, and caps nothing."""
    floors = {canonical(one.name): str(one.specifier) for one in required("dev")}
    for one in of_the_host():
        assert str(one.specifier) in ("", floors[canonical(one.name)])
        assert all(spec.operator == ">=" for spec in one.specifier)


def test_what_the_nodes_import_is_asked_for() -> None:
    """By the imports at the top of a file; those inside a function are of extras, which are missed by name."""
    names = {"PIL": "pillow", "huggingface_hub": "huggingface-hub"}
    files = [ROOT / "__init__.py", *(ROOT / "nodes").glob("*.py"), *(ROOT / "cscs_core").rglob("*.py")]
    files = [file for file in files if "train" not in file.parts and "eval" not in file.parts]
    found = {name for file in files for name in _imported(file)} - sys.stdlib_module_names
    host = {"comfy", "comfy_api", "folder_paths"}
    asked = {canonical(one.name) for one in of_the_host()}
    assert {canonical(names.get(name, name)) for name in found - host} <= asked


def test_the_torch_of_the_makefile_is_that_of_the_workflow() -> None:
    pinned = re.findall(r"(?m)^TORCH := (\S+)$", (ROOT / "Makefile").read_text("utf-8"))
    assert pinned == re.findall(r"torch==(\S+)", (ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))


def _imported(file: Path) -> set[str]:
    found = set()
    for line in ast.parse(file.read_text("utf-8")).body:
        if isinstance(line, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in line.names}
        elif isinstance(line, ast.ImportFrom) and not line.level and line.module:
            found.add(line.module.partition(".")[0])
    return found
