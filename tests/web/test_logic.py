"""The modules of web/ that know no page, under Node's own test runner; and what no module there may hold."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"
SCRIPTS = sorted(WEB.rglob("*.js"))


def node() -> str:
    """Playwright brings a Node of its own."""
    if importlib.util.find_spec("playwright"):
        from playwright._impl._driver import compute_driver_executable

        return compute_driver_executable()[0]
    return shutil.which("node") or pytest.skip("no Node: neither on the path nor in playwright")


def test_modules_pass_their_own_tests() -> None:
    tests = sorted(str(file) for file in HERE.glob("*.test.mjs"))
    calm = {**os.environ, "NO_COLOR": "1"}
    run = subprocess.run([node(), "--test", *tests], capture_output=True, text=True, timeout=60, check=False, env=calm)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"(?m)^. fail 0$", run.stdout), run.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_keeps_to_what_the_registry_lets_pass(script: Path) -> None:
    text = script.read_text("utf-8")
    assert text.isascii() or script.name == "words.js"
    assert text.startswith("// @ts-check\n")
    assert not re.search(r"\beval\(|new Function|\.bind\(|innerHTML|https?://|\bfetch\(", text)


def test_only_the_entry_knows_the_host() -> None:
    assert [script.name for script in SCRIPTS if "scripts/" in script.read_text("utf-8")] == ["cscs.js"]
