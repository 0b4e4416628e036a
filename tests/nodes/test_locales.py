"""The words of the page in other languages, each file beside its English one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCALES = ROOT / "locales"
FILES = sorted(file.name for file in (LOCALES / "en").iterdir())
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir() if folder.name != "en")
INFO: dict[str, Any] = json.loads((ROOT / "tests" / "workflows" / "object_info.json").read_text("utf-8"))
# What no language translates: `commands`, %placeholders%, ids and paths, NAMES, ProperNames, files and networks.
CODE = re.compile(
    r"`[^`]+`|%\w+%|[A-Za-z]\w*(?:[_/]\w+)+|\b(?:[A-Z]\w*)?[A-Z][A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*"
    r"|\b(?:lite|warp|cscs|insightface|onnxruntime|antelopev2|png|jpg|webp|px)\b",
    re.ASCII,
)
NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
HAN = re.compile(r"[\u4e00-\u9fff]")
QUOTED = re.compile("\u201c(.*?)\u201d")
each = pytest.mark.parametrize(("language", "file"), [(each, file) for each in LANGUAGES for file in FILES])


def read(language: str, file: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / file).read_bytes().decode("utf-8"))


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def both(language: str, file: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Every text with its English."""
    there = dict(leaves(read(language, file)))
    return ((path, english, there[path]) for path, english in leaves(read("en", file)))


def options(path: tuple[str, ...]) -> list[str]:
    """What the input of a text can be set to; the page shows these values as they are."""
    if path[1:2] != ("inputs",):
        return []
    parts = INFO[path[0]]["input"]
    (found,) = [given[path[2]] for given in parts.values() if isinstance(given, dict) and path[2] in given]
    return found[1].get("options", [])


def test_the_english_nodes_are_what_words_writes() -> None:
    command = [sys.executable, ROOT / "tests" / "workflows" / "words.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run tests/workflows/words.py; stale: {done.stderr}"


def test_chinese_is_there() -> None:
    assert "zh" in LANGUAGES
    assert FILES == ["main.json", "nodeDefs.json", "settings.json"]


@each
def test_a_translation_has_the_keys_of_the_english_and_a_text_for_each(language: str, file: str) -> None:
    english, there = dict(leaves(read("en", file))), dict(leaves(read(language, file)))
    assert {"missing": [*english.keys() - there.keys()], "left over": [*there.keys() - english.keys()]} == {
        "missing": [],
        "left over": [],
    }
    assert [path for path, text in there.items() if not isinstance(text, str) or not text.strip()] == []


@each
def test_no_sentence_is_left_in_english(language: str, file: str) -> None:
    assert [path for path, english, there in both(language, file) if english == there and " " in english] == []


@each
def test_numbers_and_words_of_code_are_kept(language: str, file: str) -> None:
    for path, english, there in both(language, file):
        assert (path, Counter(NUMBER.findall(there))) == (path, Counter(NUMBER.findall(english)))
        words = {word for word in CODE.findall(english) if path[-1] != "name"}
        words |= {word for word in options(path) if re.search(rf"\b{re.escape(word)}\b", english)}
        assert (path, [word for word in sorted(words) if word not in there]) == (path, [])


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
@pytest.mark.parametrize("file", FILES)
def test_nothing_means_something_else_to_the_page(language: str, file: str) -> None:
    """Its vue-i18n takes braces, @ and | for instructions."""
    assert [path for path, text in leaves(read(language, file)) if re.search(r"[{}@|]", text)] == []


@pytest.mark.parametrize("file", FILES)
def test_every_chinese_text_is_chinese(file: str) -> None:
    assert [path for path, text in leaves(read("zh", file)) if not HAN.search(text)] == []


def test_a_chinese_text_asks_for_consent_where_the_english_does() -> None:
    asked = [(path, there) for path, english, there in both("zh", "nodeDefs.json") if "agreed" in english]
    only, agreed = "\u53ea\u80fd", "\u540c\u610f"
    assert len(asked) >= 7
    assert [path for path, text in asked if only not in text or agreed not in text] == []


def test_chinese_texts_call_nodes_and_inputs_by_the_names_that_the_page_shows() -> None:
    nodes = dict(leaves(read("zh", "nodeDefs.json")))
    shown = {text.removesuffix(" (CSCS)") for path, text in nodes.items() if path[-1] in ("display_name", "name")}
    shown.add("\u4fdd\u5b58\u56fe\u50cf")  # the host's own Save Image
    texts = [*nodes.items(), *leaves(read("zh", "settings.json"))]
    assert [(path, name) for path, text in texts for name in QUOTED.findall(text) if name not in shown] == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_nodes_have_names_of_their_own_that_say_whose_they_are(language: str) -> None:
    names = [node["display_name"] for node in read(language, "nodeDefs.json").values()]
    assert len(set(names)) == len(names)
    assert [name for name in names if not name.endswith(" (CSCS)")] == []


def test_texts_that_a_node_makes_where_it_runs_are_left_to_it() -> None:
    """Load Model says there of each file that is there what its licence is."""
    inputs = read("en", "nodeDefs.json")["CSCS_LoadModel"]["inputs"]
    assert [name for name, words in inputs.items() if "tooltip" not in words] == ["detector", "swapper", "restorer"]


def test_settings_are_those_of_the_page_in_its_words() -> None:
    script = (ROOT / "web" / "defaults.js").read_text("utf-8")
    ids = {
        text for file in (ROOT / "web").glob("*.js") for text in re.findall(r'"(CSCS\.\w+)"', file.read_text("utf-8"))
    }
    settings = read("en", "settings.json")
    assert sorted(settings) == sorted(name.replace(".", "_") for name in ids)
    assert [path for path, text in leaves(settings) if f'"{text}"' not in script] == []
    groups = {group for line in re.findall(r"category: (\[.*\])", script) for group in json.loads(line)[:2]}
    assert read("en", "main.json")["settingsCategories"] == {group: group for group in groups}


def test_categories_of_nodes_are_named() -> None:
    parts = {part for name in read("en", "nodeDefs.json") for part in INFO[name]["category"].split("/")}
    assert read("en", "main.json")["nodeCategories"] == {part: part for part in parts}
