"""The pictures of the help pages: each page shows its own, and together they stay small."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from cscs_core.io import provenance

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "web" / "docs").glob("*.md"))
INFO = json.loads(Path(__file__).with_name("object_info.json").read_text("utf-8"))
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@each
def test_a_page_shows_its_own_picture_under_what_the_node_does(page: Path) -> None:
    title, first, picture, *rest = page.read_text("utf-8").split("\n\n")
    assert title == f"# {INFO[page.stem]['display_name']}"
    assert not first.startswith(("#", "!", "-"))
    assert re.fullmatch(rf"!\[[^\]\n]{{20,}}\]\({page.stem}\.jpg\)", picture)
    assert not any("![" in block for block in rest)


@each
def test_a_page_has_an_example_that_names_the_node(page: Path) -> None:
    blocks = page.read_text("utf-8").split("\n\n")
    assert blocks.count("## Example") == 1
    assert not any(block.startswith("Example:") for block in blocks)
    name = INFO[page.stem]["display_name"].removesuffix(" (CSCS)")
    assert name in blocks[blocks.index("## Example") + 1].replace("\n", " ")


@each
def test_a_picture_fits_the_panel_and_is_small(page: Path) -> None:
    file = page.with_suffix(".jpg")
    with Image.open(file) as picture:
        assert picture.format == "JPEG"
        assert 600 <= picture.width <= 900 and picture.height <= 720
    assert file.stat().st_size <= 80_000


def test_together_they_are_small() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "web" / "docs").glob("*.jpg")) < 1_500_000


@pytest.mark.parametrize(("folder", "kind"), [("web/docs", ".md"), ("workflows", ".json")])
def test_every_picture_belongs_to_a_file_beside_it(folder: str, kind: str) -> None:
    files = list((ROOT / folder).iterdir())
    assert {file.suffix for file in files} == {kind, ".jpg"}
    assert sorted(f.stem for f in files if f.suffix == ".jpg") == sorted(f.stem for f in files if f.suffix == kind)


def test_every_picture_says_that_it_is_made() -> None:
    files = [*(ROOT / "web" / "docs").glob("*.jpg"), *(ROOT / "workflows").glob("*.jpg")]
    assert [file.name for file in files if provenance.read(file) != provenance.synthetic()] == []
