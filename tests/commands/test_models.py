"""`cscs models` and `cscs fetch`, with a Hub on loopback."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cscs_core.commands import models as model_commands
from cscs_core.commands.models import ready, run_fetch, run_models
from cscs_core.hub import weights
from cscs_core.hub.registry import MODELS, ModelSpec
from cscs_core.hub.store import Store, accepted
from cscs_core.io.files import BadInput

from ..hub_server import HubServer, pretended

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONTENTS = {name: name.encode() * 400_000 for name in ("one", "two", "free", "hand")}


def _spec(name: str) -> ModelSpec:
    return ModelSpec(
        name,
        "swapper",
        f"{name}.onnx",
        hashlib.sha256(CONTENTS[name]).hexdigest(),
        licence="strict",
        noncommercial=True,
        terms="Only for study.",
        arch="onnx",
        url=f"https://example.org/{name}",
        bytes=len(CONTENTS[name]),
        repo="someone/models",
        revision=REVISION,
    )


SPECS = {
    "one": _spec("one"),
    "two": _spec("two"),
    "free": replace(_spec("free"), noncommercial=False, licence="open", terms="Do what you like."),
    "hand": replace(_spec("hand"), repo=None, revision=None, bytes=None),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CSCS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(model_commands, "MODELS", SPECS)
    monkeypatch.setattr(model_commands, "GROUPS", {"pair": ("one", "two")})
    return tmp_path / "home"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    files = {f"/someone/models/resolve/{REVISION}/{name}.onnx": content for name, content in CONTENTS.items()}
    with pretended(monkeypatch, files) as running:
        yield running


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def type_in(monkeypatch: pytest.MonkeyPatch, text: str, terminal: bool = True) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(text) if terminal else io.StringIO(text))


def fetched(*names: str, accept: bool = False, folder: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(names=list(names), accept=accept, folder=folder)


def files(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("*.onnx"))


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(CONTENTS[name])
    return folder / f"{name}.onnx"


# models


def test_the_table_says_what_is_here(home: Path, capsys: pytest.CaptureFixture[str]):
    put(home, "two")
    assert run_models(argparse.Namespace(json=None)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "name role state size licence",
        "one swapper can be fetched 1 MB strict",
        "two swapper there 1 MB strict",
        "free swapper can be fetched 2 MB open",
        "hand swapper missing ? strict",
        f"Bring what is missing: into {home}, or with `cscs fetch NAME --from FOLDER`.",
    ]
    assert {line.index("swapper") for line in lines[1:5]} == {lines[0].index("role")}


def test_the_report_says_where_and_from_where(home: Path, tmp_path: Path):
    path = put(home, "two")
    assert run_models(argparse.Namespace(json=tmp_path / "models.json")) == 0
    report = {entry["name"]: entry for entry in json.loads((tmp_path / "models.json").read_text())}
    assert list(report) == ["one", "two", "free", "hand"]
    assert (report["two"]["state"], report["two"]["path"]) == ("there", str(path))
    assert (report["hand"]["state"], report["hand"]["path"]) == ("missing", None)
    assert report["hand"] == {
        "name": "hand",
        "role": "swapper",
        "state": "missing",
        "path": None,
        "file": "hand.onnx",
        "bytes": None,
        "sha256": SPECS["hand"].sha256,
        "licence": "strict",
        "noncommercial": True,
        "terms": "Only for study.",
        "url": "https://example.org/hand",
    }


def test_a_report_that_cannot_be_written_is_said_first(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(BadInput, match="is a folder"):
        run_models(argparse.Namespace(json=tmp_path))
    assert capsys.readouterr().out == ""


# fetch


def test_a_group_is_fetched_after_one_question(
    home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    type_in(monkeypatch, "y\n")
    done: list[tuple[str, Path]] = []
    assert run_fetch(fetched("pair", "one"), after=lambda spec, path: done.append((spec.name, path))) == 0
    assert capsys.readouterr().out.splitlines() == [
        "one: one.onnx, 1 MB, strict. Only for study.",
        "two: two.onnx, 1 MB, strict. Only for study.",
        "Do you accept these terms? [y/N]",
        f"one: {home / 'one.onnx'}",
        f"two: {home / 'two.onnx'}",
    ]
    assert files(home) == ["one.onnx", "two.onnx"]
    assert done == [("one", home / "one.onnx"), ("two", home / "two.onnx")]


def test_what_is_here_is_not_asked_for_and_still_gone_on_with(
    home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    type_in(monkeypatch, "", terminal=False)
    path = put(home, "one")
    done: list[str] = []
    assert run_fetch(fetched("one"), after=lambda spec, path: done.append(spec.name)) == 0
    assert capsys.readouterr().out == f"one: {path}\n"
    assert done == ["one"] and not server.log


@pytest.mark.parametrize("answer", ["\n", "n\n", "nope\n", ""])
def test_who_does_not_accept_gets_nothing(home: Path, server: HubServer, monkeypatch, answer: str):
    type_in(monkeypatch, answer)
    with pytest.raises(BadInput, match="one: the terms were not accepted"):
        run_fetch(fetched("one", "free"))
    assert not server.log and files(home) == []
    assert not accepted(Store(home), SPECS["one"])


def test_without_a_terminal_the_option_has_to_answer(home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, "y\n", terminal=False)
    with pytest.raises(BadInput, match=r"one, two: .* --accept"):
        run_fetch(fetched("pair"))
    assert not server.log and files(home) == []
    assert run_fetch(fetched("pair", accept=True)) == 0
    assert files(home) == ["one.onnx", "two.onnx"]


def test_terms_are_asked_about_once(home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, "YES\n")
    run_fetch(fetched("one"))
    (home / "one.onnx").unlink()
    type_in(monkeypatch, "", terminal=False)
    assert run_fetch(fetched("one")) == 0
    assert files(home) == ["one.onnx"]


def test_open_terms_are_shown_but_not_asked_about(
    home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    type_in(monkeypatch, "", terminal=False)
    assert run_fetch(fetched("free")) == 0
    assert capsys.readouterr().out.splitlines()[0] == "free: free.onnx, 2 MB, open. Do what you like."
    assert not (home / "accepted.json").exists()


def test_unknown_names_are_answered_with_those_that_exist(home: Path):
    with pytest.raises(BadInput, match=r"^three: no such model; there are pair, one, two, free, hand$"):
        run_fetch(fetched("one", "three"))


def test_what_has_to_be_brought_is_said_before_anything_is_fetched(home: Path, server: HubServer):
    with pytest.raises(
        BadInput, match=r"hand: bring hand.onnx from https://example.org/hand, into .*home or with --from"
    ):
        run_fetch(fetched("one", "hand", accept=True))
    assert not server.log and not home.exists()


def test_files_are_taken_from_a_folder(home: Path, server: HubServer, tmp_path: Path):
    put(tmp_path / "stick", "hand")
    put(tmp_path / "stick", "one").rename(tmp_path / "stick" / "renamed")
    assert run_fetch(fetched("one", "hand", accept=True, folder=tmp_path / "stick")) == 0
    assert files(home) == ["hand.onnx", "one.onnx"] and not server.log
    with pytest.raises(BadInput, match=r"does not contain two\.onnx"):
        run_fetch(fetched("two", accept=True, folder=tmp_path / "stick"))


def test_a_terminal_sees_a_bar_that_goes_away(home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    run_fetch(fetched("one", accept=True))
    shown = screen.getvalue().split("\r")
    assert shown[1].startswith("one.onnx: 0.00B")
    assert shown[-2].isspace() and shown[-1] == ""


def test_without_a_terminal_there_is_no_bar(home: Path, server: HubServer, capsys: pytest.CaptureFixture[str]):
    run_fetch(fetched("one", accept=True))
    assert capsys.readouterr().err == ""


def test_a_stopped_fetch_goes_on_next_time(home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    server.cuts = [500_000, 0]
    with pytest.raises(BadInput, match=r"the connection to .* failed"):
        run_fetch(fetched("one", accept=True))
    assert files(home) == []
    assert run_fetch(fetched("one")) == 0
    assert server.log[-1].range == "bytes=500000-"
    assert (home / "one.onnx").read_bytes() == CONTENTS["one"]


def test_a_fetched_network_of_cscs_is_converted_once(home: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []

    def convert(path: Path, folder: Path) -> dict[Path, str]:
        made.append(path)
        target = folder / "cscs_generator.safetensors"
        weights.write(target, {"a": torch.zeros(1)}, {})
        return {target: "aei"}

    monkeypatch.setattr(model_commands, "convert", convert)
    for _ in range(2):
        ready(MODELS["cscs_generator"], home / "cscs_256.onnx")
    ready(MODELS["inswapper_128"], home / "inswapper_128.onnx")
    assert made == [home / "cscs_256.onnx"]
