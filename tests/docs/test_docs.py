"""What README, docs and the tops of scripts show works when it is pasted."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cscs_core.cli import parser
from cscs_core.tasks.example_people import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, ROOT / "cscs_core" / "lite" / "MODEL_CARD.md"]
SCRIPTS = [*(ROOT / "cscs_core" / "train").glob("*.py"), *(ROOT / "cscs_core" / "eval").glob("*.py")]


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PYTHON = [(f"{named(page)} {number}", code) for page in TEXTS for number, code in enumerate(fenced(page, "python"))]
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for page in TEXTS
        for block in fenced(page, "(?:bash|sh|console)?")
        for line in block.splitlines()
        if line.startswith("cscs ")
    }
)


@pytest.mark.parametrize("code", [code for _, code in PYTHON], ids=[name for name, _ in PYTHON])
def test_python_runs_beside_two_photographs(code: str, tmp_path: Path):
    for number, name in ((1, "me"), (2, "party")):
        shutil.copy(EXAMPLES / f"person_{number}.jpg", tmp_path / f"{name}.jpg")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("out.png" in code) == (tmp_path / "out.png").exists()


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_options_that_there_are(line: str):
    parser().parse_args(shlex.split(line)[1:])


def test_there_are_blocks_to_test():
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 10


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_links_lead_somewhere(page: Path):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


class Parsed(Exception):
    """The arguments were understood; nothing else is wanted of the script."""


def script_commands() -> Iterator[tuple[str, str]]:
    for file in sorted(SCRIPTS):
        text = file.read_text(encoding="utf-8").split('"""')[1].replace("\\\\\n", " ").replace("\\\n", " ")
        for module, arguments in re.findall(r"^ *python -m (cscs_core\.[\w.]+)(.*)$", text, re.M):
            yield module, re.sub(r"[\[\]]", "", arguments)


@pytest.mark.parametrize(("module", "arguments"), list(script_commands()))
def test_the_command_at_the_top_of_a_script_is_understood(module: str, arguments: str, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any) -> NoReturn:
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [module, *shlex.split(arguments)])
    with pytest.raises(Parsed):
        importlib.import_module(module).main()
