"""The store and the Hub, against a real HTTP server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cscs_core.hub import download as hub
from cscs_core.hub import store as folders
from cscs_core.hub.download import fetch
from cscs_core.hub.registry import ModelSpec
from cscs_core.hub.store import Store, accept, accepted, default_store, find, import_file
from cscs_core.io.files import BadInput

from ..hub_server import HubServer, pretended

ROOT = Path(hub.__file__).parents[2]
CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
REVISION = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = f"/someone/models/resolve/{REVISION}/tiny.onnx"
SPEC = ModelSpec(
    "tiny",
    "encoder",
    "tiny.onnx",
    hashlib.sha256(CONTENT).hexdigest(),
    licence="none",
    noncommercial=True,
    terms="No terms.",
    arch="onnx",
    url="https://example.org/tiny",
    bytes=len(CONTENT),
    repo="someone/models",
    revision=REVISION,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with pretended(monkeypatch, {ADDRESS: CONTENT}) as running:
        yield running


def inside(store: Store) -> dict[str, bytes]:
    """Every file in home by its path, without the notes."""
    files = (path for path in store.home.rglob("*") if path.is_file() and path.name != "hashes.json")
    return {path.relative_to(store.home).as_posix(): path.read_bytes() for path in files}


def partial(store: Store) -> Path:
    return store.home / ".partial" / f"tiny.onnx.{SPEC.sha256[:16]}"


def left(store: Store, size: int) -> bool:
    """Whether home holds the first bytes of the file as a partial file, and nothing else."""
    name = partial(store).relative_to(store.home).as_posix()
    return inside(store) == {name: CONTENT[:size]} and find(store, SPEC) is None


def refusal(store: Store, spec: ModelSpec = SPEC) -> str:
    with pytest.raises(BadInput) as caught:
        fetch(store, spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


needs_links = pytest.mark.skipif(os.name == "nt", reason="links need special rights")


# The folders


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../../x",
        "/x",
        "a//x",
        "a/",
        ".partial/x",
        "a\\x",
        "..\\x",
        "C:x",
        "C:\\x",
        "a\0x",
        "a\nx",
    ],
)
def test_names_that_lead_out_of_home_are_refused(store: Store, name: str):
    with pytest.raises(BadInput):
        store.path(name)


@needs_links
def test_links_that_lead_out_of_home_are_refused(store: Store, tmp_path: Path):
    store.home.mkdir()
    (store.home / "out").symlink_to(tmp_path, target_is_directory=True)
    (store.home / "file.onnx").symlink_to(tmp_path / "file.onnx")
    for name in ("out/x.onnx", "file.onnx"):
        with pytest.raises(BadInput):
            store.path(name)


@needs_links
def test_plain_names_lie_in_home_even_if_home_is_a_link(store: Store, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    store.home.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert store.path("a/b..onnx") == store.home / "a" / "b..onnx"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"CSCS_HOME": "/data/models"}, "/data/models"),
        ("linux", {"CSCS_HOME": "~/models"}, "/users/me/models"),
        ("linux", {}, "/users/me/.cache/cscs"),
        ("linux", {"XDG_CACHE_HOME": "/cache"}, "/cache/cscs"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/users/me/.cache/cscs"),
        ("darwin", {"XDG_CACHE_HOME": "/cache"}, "/users/me/Library/Caches/cscs"),
        ("win32", {"LOCALAPPDATA": "/app data"}, "/app data/cscs"),
        ("win32", {}, "/users/me/AppData/Local/cscs"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_the_usual_home(monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str):
    for name in ("CSCS_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/users/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_store() == Store(Path(expected))


# Finding


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as it happens."""
    names: list[str] = []
    read = folders.sha256

    def counted(path: Path) -> str:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(folders, "sha256", counted)
    return names


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_home_comes_before_the_other_folders(store: Store, tmp_path: Path):
    store = replace(store, others=(tmp_path / "a", tmp_path / "b"))
    assert find(store, SPEC) is None
    last = put(tmp_path / "b" / "tiny.onnx")
    assert find(store, SPEC) == last
    middle = put(tmp_path / "a" / "insightface" / "models" / "tiny.onnx")
    assert find(store, SPEC) == middle
    first = put(store.home / "tiny.onnx")
    assert find(store, SPEC) == first


def test_a_file_is_known_by_its_contents_whatever_it_is_called(store: Store, tmp_path: Path):
    store = replace(store, others=(tmp_path / "others",))
    renamed = put(tmp_path / "others" / "swapper (1).bin")
    put(tmp_path / "others" / "tiny.onnx", CONTENT[::-1])  # of the name and the size, and still another
    assert find(store, SPEC) == renamed
    assert find(store, replace(SPEC, bytes=None)) is None  # without a size only names are looked at


def test_a_wrong_size_in_the_registry_hides_no_file_of_the_right_name(store: Store):
    file = put(store.home / "tiny.onnx")
    assert find(store, replace(SPEC, bytes=5)) == file


def test_only_home_is_written(store: Store, tmp_path: Path):
    other = put(tmp_path / "others" / "tiny.onnx")
    assert find(replace(store, others=(tmp_path / "others",)), SPEC) == other
    assert list((tmp_path / "others").iterdir()) == [other]
    assert [path.name for path in store.home.iterdir()] == ["hashes.json"]


def test_nothing_is_written_when_nothing_was_read(store: Store, tmp_path: Path):
    put(tmp_path / "others" / "unrelated.onnx", b"other")
    assert find(replace(store, others=(tmp_path / "others",)), SPEC) is None
    assert not store.home.exists()


def test_a_file_is_read_once_until_it_changes(store: Store, hashed: list[str]):
    file = put(store.home / "tiny.onnx")
    assert find(store, SPEC) == find(store, SPEC) == file
    assert hashed == ["tiny.onnx"]
    put(file, CONTENT[::-1])
    os.utime(file, ns=(1, 1))
    assert find(store, SPEC) is None
    assert hashed == ["tiny.onnx"] * 2
    put(file)
    os.utime(file, ns=(2, 2))
    assert find(store, SPEC) == file
    assert hashed == ["tiny.onnx"] * 3


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"%s": 3}', '{"%s": {"state": [%d, %d], "sha256": 5}}', "\xff"]
)
def test_damaged_notes_are_made_anew(store: Store, hashed: list[str], damage: str):
    file = put(store.home / "tiny.onnx")
    found = file.stat()
    values = (str(file.resolve()), found.st_size, found.st_mtime_ns)[: damage.count("%")]
    (store.home / "hashes.json").write_bytes((damage % values).encode("latin-1"))
    assert find(store, SPEC) == find(store, SPEC) == file
    assert hashed == ["tiny.onnx"]
    notes = json.loads((store.home / "hashes.json").read_text())
    assert notes == {str(file.resolve()): {"state": [found.st_size, found.st_mtime_ns], "sha256": SPEC.sha256}}


def test_a_home_that_cannot_be_written_still_finds(tmp_path: Path):
    (tmp_path / "a file").touch()
    other = put(tmp_path / "others" / "tiny.onnx")
    assert find(Store(tmp_path / "a file", (tmp_path / "others",)), SPEC) == other


@needs_links
def test_what_is_no_ordinary_file_is_passed_over(store: Store, tmp_path: Path):
    folder = tmp_path / "others"
    (folder / "tiny.onnx").mkdir(parents=True)  # a folder of this name
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "a").mkdir()
    (folder / "a" / "tiny.onnx").symlink_to(tmp_path / "nowhere")
    if hasattr(os, "mkfifo"):
        (folder / "b").mkdir()
        os.mkfifo(folder / "b" / "tiny.onnx")  # reading it would wait forever
    put(folder / ".hidden" / "tiny.onnx")
    put(folder / "1" / "2" / "3" / "4" / "5" / "tiny.onnx")  # too deep
    assert find(replace(store, others=(folder,)), SPEC) is None
    linked = folder / "1" / "2" / "3" / "4" / "tiny.onnx"
    linked.symlink_to(put(tmp_path / "disk" / "tiny.onnx"))
    assert find(replace(store, others=(folder,)), SPEC) == linked


# Terms


def test_terms_are_accepted_once_and_for_this_licence(store: Store):
    other = replace(SPEC, name="other")
    assert not accepted(store, SPEC)
    accept(store, SPEC)
    accept(store, other)
    assert accepted(store, SPEC) and accepted(store, other)
    assert not accepted(store, replace(SPEC, licence="stricter"))
    notes = json.loads((store.home / "accepted.json").read_text())
    assert notes["tiny"].keys() == {"licence", "date"}
    written = (store.home / "accepted.json").stat().st_mtime_ns
    accept(store, SPEC)
    assert (store.home / "accepted.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"tiny": true}', '{"tiny": []}'])
def test_damaged_acceptance_is_none(store: Store, damage: str):
    store.home.mkdir()
    (store.home / "accepted.json").write_text(damage)
    assert not accepted(store, SPEC)
    accept(store, SPEC)
    assert accepted(store, SPEC)


def test_terms_that_cannot_be_noted_are_one_line(tmp_path: Path):
    (tmp_path / "a file").touch()
    with pytest.raises(BadInput, match=r"accepted\.json: cannot be written"):
        accept(Store(tmp_path / "a file"), SPEC)


# Out of a folder


def test_a_file_is_taken_from_a_folder_by_its_contents(store: Store, tmp_path: Path, hashed: list[str]):
    put(tmp_path / "stick" / "deep" / "renamed")
    assert import_file(store, SPEC, tmp_path / "stick") == store.home / "tiny.onnx"
    assert inside(store) == {"tiny.onnx": CONTENT}
    hashed.clear()
    assert find(store, SPEC) == import_file(store, SPEC, tmp_path / "gone") == store.home / "tiny.onnx"
    assert not hashed


def test_a_folder_without_the_file_says_what_to_do(store: Store, tmp_path: Path):
    put(tmp_path / "stick" / "tiny.onnx", b"other")
    with pytest.raises(BadInput, match=f"does not contain tiny.onnx .*{SPEC.sha256}.*example.org.* into .*home"):
        import_file(store, SPEC, tmp_path / "stick")
    with pytest.raises(BadInput, match="no such folder"):
        import_file(store, SPEC, tmp_path / "nowhere")
    assert inside(store) == {}


def test_a_file_that_changes_while_it_is_copied_is_not_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put(tmp_path / "stick" / "tiny.onnx")
    monkeypatch.setattr(folders.shutil, "copyfile", lambda source, target: target.write_bytes(b"half"))
    with pytest.raises(BadInput, match="changed while it was being copied"):
        import_file(store, SPEC, tmp_path / "stick")
    assert inside(store) == {}


# From the Hub


def test_importing_reaches_for_no_network():
    code = "import sys, cscs_core.hub.download; sys.exit('huggingface_hub' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_file_comes_whole_and_only_once(store: Store, server: HubServer, hashed: list[str]):
    seen: list[tuple[int, int]] = []
    assert fetch(store, SPEC, lambda done, total: seen.append((done, total))) == store.home / "tiny.onnx"
    assert inside(store) == {"tiny.onnx": CONTENT}
    assert [(request.method, request.path) for request in server.log] == [("HEAD", ADDRESS), ("GET", ADDRESS)]
    assert {request.headers["user-agent"] for request in server.log} == {"cscs"}
    assert {request.headers["accept-encoding"] for request in server.log} == {"identity"}
    assert not any("authorization" in request.headers for request in server.log)
    assert seen == sorted(seen) and seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    server.log.clear()
    hashed.clear()
    assert fetch(store, SPEC) == store.home / "tiny.onnx"
    assert not server.log and not hashed


def test_a_file_that_another_program_has_is_not_fetched(store: Store, server: HubServer, tmp_path: Path):
    other = put(tmp_path / "others" / "renamed.onnx")
    assert fetch(replace(store, others=(tmp_path / "others",)), SPEC) == other
    assert not server.log and inside(store) == {}


def test_a_file_may_lie_elsewhere_in_its_repository(store: Store, server: HubServer):
    server.files = {f"/someone/models/resolve/{REVISION}/deep/other.onnx": CONTENT}
    spec = replace(SPEC, path="deep/other.onnx", file="sub/tiny.onnx")
    assert fetch(store, spec) == store.home / "sub" / "tiny.onnx"
    assert inside(store) == {"sub/tiny.onnx": CONTENT}


def test_what_stands_under_the_name_is_replaced_if_it_is_another_file(store: Store, server: HubServer):
    put(store.home / "tiny.onnx", b"truncated long ago")
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_without_a_size_in_the_registry_that_of_the_hub_counts(store: Store, server: HubServer):
    seen: list[tuple[int, int]] = []
    fetch(store, replace(SPEC, bytes=None), lambda done, total: seen.append((done, total)))
    assert inside(store) == {"tiny.onnx": CONTENT} and seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_connection_is_taken_up_where_it_broke(store: Store, server: HubServer):
    server.cuts = [100_000, 50_000]
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}
    assert [request.range for request in server.asked("GET")] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_connection_that_brings_nothing_ends_it(store: Store, server: HubServer):
    server.cuts = [100_000, 0]
    assert "the connection to http://127.0.0.1:" in (said := refusal(store)) and "what came is kept" in said
    assert len(server.asked("GET")) == 2 and left(store, 100_000)
    server.log.clear()
    fetch(store, SPEC)
    assert [request.range for request in server.asked("GET")] == ["bytes=100000-"]
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_a_server_that_knows_no_ranges_sends_it_all_again(store: Store, server: HubServer):
    put(partial(store), CONTENT[:1000])
    server.ranges = False
    fetch(store, SPEC)
    assert [request.range for request in server.asked("GET")] == ["bytes=1000-"]
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_a_server_that_knows_no_ranges_and_breaks_off_is_given_up(store: Store, server: HubServer):
    server.ranges = False
    server.cuts = [100_000, 100_000]
    refusal(store)
    assert left(store, 100_000)


@pytest.mark.parametrize("start", [CONTENT, CONTENT + b"more", b"wrong" + CONTENT[5:]])
def test_a_partial_file_that_is_already_whole(store: Store, server: HubServer, start: bytes):
    put(partial(store), start)
    if start.startswith(b"wrong"):
        assert "another sha256" in refusal(store)
        assert inside(store) == {} and not server.asked("GET")
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}
    assert [request.range for request in server.asked("GET")] == [None] * (start != CONTENT)


@pytest.mark.parametrize("body", [CONTENT[::-1], CONTENT + b"more"])
def test_a_wrong_file_is_deleted(store: Store, server: HubServer, body: bytes):
    server.body = body
    assert "sha256" in refusal(store)
    assert inside(store) == {}


def test_a_file_that_ends_early_is_no_file(store: Store, server: HubServer):
    server.body = CONTENT[:1000]
    assert "416" in refusal(store)
    assert left(store, 1000)


@pytest.mark.parametrize("announced", [{"etag": "a" * 64}, {"size": 5}])
def test_another_file_is_not_even_begun(store: Store, server: HubServer, announced: dict):
    for name, value in announced.items():
        setattr(server, name, value)
    assert "another file in its place" in refusal(store)
    assert not server.asked("GET") and inside(store) == {}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (404, {"X-Error-Code": "EntryNotFound"}, f"no longer in someone/models at {REVISION}; .*example.org"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no longer in someone/models"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no longer in someone/models"),
        (401, {"X-Error-Code": "RepoNotFound"}, "hf auth login"),
        (401, {"X-Error-Code": "GatedRepo"}, "accept its terms .* HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "accept its terms .* HF_TOKEN"),
        (403, {}, "HF_TOKEN"),
        (429, {"Retry-After": "17"}, "too many requests; try again in 17 s"),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "too many requests; try again later"),
        (429, {}, "too many requests; try again later"),
        (503, {}, r"trouble \(503\)"),
        (418, {}, r"refuses it \(418\)"),
    ],
)
def test_every_refusal_is_one_line(store: Store, server: HubServer, method: str, status: int, headers: dict, said: str):
    server.refuse = {method: (status, headers)}
    started = time.monotonic()
    with pytest.raises(BadInput, match=f"^tiny.onnx: .*{said}") as caught:
        fetch(store, SPEC)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 15  # nobody waits, as some servers ask for
    assert len(server.asked(method)) == 1 and set(inside(store).values()) <= {b""}


def test_a_refusal_half_way_keeps_what_came(store: Store, server: HubServer):
    put(partial(store), CONTENT[:1000])
    server.refuse = {"GET": (429, {})}
    refusal(store)
    assert left(store, 1000)


def test_nobody_at_the_address(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    with HubServer() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.address)
    assert f"the connection to {gone.address} failed" in (said := refusal(store)) and "refused" in said.lower()
    assert inside(store) == {}


@pytest.mark.parametrize(
    "address", ["huggingface.co", "ftp://huggingface.co", "http://", "http://host:port", "http://["]
)
def test_an_address_that_is_none_is_named(
    store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch, address: str
):
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert refusal(store).startswith(f"HF_ENDPOINT={address.rstrip('/')}: ")


def test_a_server_that_falls_silent(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.cuts, server.hold = [100_000, 0], threading.Event()
    assert "timed out" in refusal(store).lower()
    assert left(store, 100_000)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_offline_says_what_to_do(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    said = refusal(store)
    assert "HF_HUB_OFFLINE" in said and "example.org/tiny" in said and str(store.home) in said
    assert not server.log and inside(store) == {}


def test_a_client_of_huggingface_hub_is_not_needed(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    """Before 1.0 it is one of requests, whose `stream` is a bool."""
    from huggingface_hub import utils

    monkeypatch.setattr(utils, "get_session", lambda: type("Session", (), {"stream": False}))
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_offline_as_huggingface_hub_was_told_it(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(store)
    assert not server.log and inside(store) == {}


def test_without_huggingface_hub_it_says_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    said = refusal(store)
    assert "pip install huggingface-hub" in said and "example.org/tiny" in said and str(store.home) in said


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("socks5://user:secret@127.0.0.1:1", "check the variables for proxies and certificates (socks5 proxies"),
        ("nonsense://127.0.0.1:1", "check the variables for proxies and certificates (nonsense proxies"),
        ("http://", "the connection to "),
        ("http://127.0.0.1:no", "the connection to "),
        ("http://127.0.0.1:1", "the connection to "),
    ],
)
def test_a_proxy_that_does_not_work_is_one_line(
    store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch, proxy: str, expected: str
):
    monkeypatch.setenv("ALL_PROXY", proxy)
    without_exceptions(monkeypatch)
    assert expected in (said := refusal(store)) and "secret" not in said
    assert not server.log and inside(store) == {}


def without_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
def test_a_proxy_is_asked_for_the_hub(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv(variable, server.address)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    without_exceptions(monkeypatch)
    server.files = {f"http://hub.invalid{ADDRESS}": CONTENT}
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_no_proxy_is_asked_for_an_address_that_is_excepted(
    store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    if not (program := shutil.which("openssl")):
        pytest.skip("needs openssl to make a certificate")
    path, subject = tmp_path / "certificate.pem", ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]
    subprocess.run([program, "req", "-x509", *key, *subject, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", None])
def test_a_certificate_counts_if_the_user_says_so(
    store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch, certificate: Path, variable: str | None
):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with HubServer({ADDRESS: CONTENT}, tls=tls) as secured:
        monkeypatch.setenv("HF_ENDPOINT", secured.address)
        if variable is None:
            assert "certificate verify failed" in refusal(store).lower()
        else:
            monkeypatch.setenv(variable, str(certificate))
            fetch(store, SPEC)
    assert inside(store) == ({"tiny.onnx": CONTENT} if variable else {})


def test_a_bundle_that_is_missing_is_one_line(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(store.home / "none.pem"))
    assert "check the variables for proxies and certificates" in refusal(store)
    assert not server.log


def test_a_file_without_a_pinned_place_is_not_looked_for(store: Store, server: HubServer):
    for spec in (replace(SPEC, revision=None), replace(SPEC, repo=None)):
        said = refusal(store, spec)
        assert "example.org/tiny" in said and str(store.home) in said
    assert not server.log


def test_a_token_goes_to_the_hub_and_nowhere_else(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer({ADDRESS: CONTENT}) as storage:
        server.elsewhere = storage.address.replace("127.0.0.1", "localhost")
        server.cuts = storage.cuts = [1000]
        fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}
    assert {request.headers.get("authorization") for request in server.log} == {"Bearer hf_secret"}
    assert {request.headers.get("authorization") for request in storage.log} == {None}
    assert [request.range for request in storage.log] == [None, "bytes=1000-"]


def test_a_repository_that_has_moved_still_knows_the_token(
    store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.files = {"/elsewhere": CONTENT}
    server.moved = {ADDRESS: "/elsewhere"}
    fetch(store, SPEC)
    assert [(request.method, request.path) for request in server.log] == [
        ("HEAD", ADDRESS),
        ("HEAD", "/elsewhere"),
        ("GET", ADDRESS),
        ("GET", "/elsewhere"),
    ]
    assert {request.headers.get("authorization") for request in server.log} == {"Bearer hf_secret"}


def test_a_redirect_that_never_ends_is_one_line(store: Store, server: HubServer):
    server.moved = {ADDRESS: ADDRESS}
    assert "refuses it (308)" in refusal(store)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, OSError("pipe")])
def test_whatever_stops_it_is_passed_on_and_what_came_is_kept(store: Store, server: HubServer, stop):
    server.cuts, server.hold = [100_000], threading.Event()

    def progress(done: int, total: int) -> None:
        if done >= 100_000:
            raise stop

    with pytest.raises(type(stop) if isinstance(stop, OSError) else stop):
        fetch(store, SPEC, progress)
    assert left(store, 100_000)
    server.hold.set()
    server.log.clear()
    fetch(store, SPEC)
    assert [request.range for request in server.asked("GET")] == ["bytes=100000-"]
    assert inside(store) == {"tiny.onnx": CONTENT}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300  # another process may be slow to start
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def apart(store: Store, first: str = "") -> subprocess.Popen[str]:
    """A process of its own that fetches the file."""
    code = f"{first}\nfrom cscs_core.hub.download import *; fetch(Store(Path({str(store.home)!r})), {SPEC!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_process_loses_nothing(store: Store, server: HubServer):
    server.cuts, server.hold = [100_000], threading.Event()
    with apart(store) as child:
        until(lambda: partial(store).exists() and partial(store).stat().st_size > 50_000)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    size = partial(store).stat().st_size
    assert partial(store).read_bytes() == CONTENT[:size] and find(store, SPEC) is None
    server.hold.set()
    server.log.clear()
    fetch(store, SPEC)
    assert [request.range for request in server.asked("GET")] == [f"bytes={size}-"]
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_two_at_once_fetch_it_once(store: Store, server: HubServer):
    server.cuts, server.hold = [100_000], threading.Event()
    waited: list[tuple[int, int]] = []
    first = threading.Thread(target=fetch, args=(store, SPEC))
    first.start()
    until(lambda: partial(store).exists() and partial(store).stat().st_size > 0)
    second = threading.Thread(target=fetch, args=(store, SPEC, lambda *now: waited.append(now)))
    second.start()
    until(lambda: bool(waited))
    server.hold.set()
    first.join()
    second.join()
    assert waited[0][0] <= 100_000 and waited[0][1] == len(CONTENT)
    assert [request.range for request in server.asked("GET")] == [None, "bytes=100000-"]
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_one_who_waits_can_leave(store: Store, server: HubServer):
    server.cuts, server.hold = [100_000], threading.Event()
    first = threading.Thread(target=fetch, args=(store, SPEC))
    first.start()
    until(lambda: partial(store).exists() and partial(store).stat().st_size > 0)

    def leave(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(store, SPEC, leave)
    server.hold.set()
    first.join()
    assert inside(store) == {"tiny.onnx": CONTENT}


# The disk


def test_a_full_disk_is_one_line_and_what_came_is_kept(store: Store, server: HubServer):
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    with apart(store, limit) as child:
        said = child.communicate()[1].splitlines()[-1]
    assert said == f"cscs_core.io.files.BadInput: {store.home / 'tiny.onnx'}: cannot be written (File too large)"
    assert left(store, 100_000)
    fetch(store, SPEC)
    assert inside(store) == {"tiny.onnx": CONTENT}


def test_a_disk_without_room_is_said_before(store: Store, server: HubServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    put(partial(store), CONTENT[:200])
    assert "no room for the 307,000 bytes of tiny.onnx" in refusal(store)
    assert not server.asked("GET") and left(store, 200)


def test_a_home_that_cannot_be_made_is_one_line(server: HubServer, tmp_path: Path):
    (tmp_path / "a file").touch()
    assert "cannot be written" in refusal(Store(tmp_path / "a file"))
    assert not server.log
