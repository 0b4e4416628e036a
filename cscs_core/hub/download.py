"""How the models of others come from the Hub: the only module with network access, and only inside `fetch`.

Nothing stands under its final name that was not whole and verified.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..io.files import BadInput
from .registry import ModelSpec
from .store import Store, find, manual_hint, oserror_as_bad_input, remember, sha256, size

Progress = Callable[[int, int], None]  # (bytes here, bytes in all), called while they arrive; may raise to stop

_PARTIAL = ".partial"
_TRUE = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads its variables


def fetch(store: Store, spec: ModelSpec, progress: Progress | None = None) -> Path:
    """The model's file in the store, from the Hub if it is not there yet.

    What arrives is kept in a hidden folder of home when the fetch is stopped or broken off, and the next one goes on
    from there. Raises BadInput, in one line with what to do, for whatever keeps the file from arriving whole.
    """
    if there := find(store, spec):
        return there
    target = store.path(spec.file)
    if not spec.fetchable:
        raise BadInput(f"{spec.file}: has no pinned place on the Hub; {manual_hint(store, spec)}")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise BadInput(_offline(store, spec))
    hub = _connect(store, spec)
    partial = store.home / _PARTIAL / f"{Path(spec.file).name}.{spec.sha256[:16]}"
    progress = progress or (lambda done, total: None)
    try:
        with oserror_as_bad_input(target), _alone(partial, lambda: progress(size(partial), spec.bytes or 0)):
            if there := find(store, spec):  # another process was faster
                return there
            _download(hub, spec, partial, progress)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, target)
    except hub.offline:
        raise BadInput(_offline(store, spec)) from None
    except hub.refused as error:
        raise BadInput(f"{spec.file}: {_refusal(spec, error)}") from None
    except hub.failed as error:
        raise BadInput(_broken(hub, spec, error)) from None
    remember(store, target, spec.sha256)
    return target


@contextmanager
def _alone(partial: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time at a partial file; `waiting` is called twice a second while it is another one's turn."""
    from filelock import FileLock, Timeout

    partial.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{partial}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            waiting()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps it while it is open
            os.unlink(lock.lock_file)
        lock.release()


@dataclass(frozen=True, slots=True)
class _Hub:
    """What huggingface_hub lends us, and the kinds of error it knows."""

    address: str
    session: Any  # a client of httpx or httpx2, by its version
    headers: dict[str, str]
    timeout: float  # seconds without a byte
    offline: type[Exception]
    refused: type[Exception]  # an answer that is not the file
    failed: type[Exception]  # the same and all trouble with the connection


def _connect(store: Store, spec: ModelSpec) -> _Hub:
    """Makes ready; nothing is sent yet."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is first imported
    try:
        from huggingface_hub import constants, errors, utils

        session = utils.get_session()
        if not hasattr(session, "stream"):
            raise ImportError("huggingface_hub is older than 1.0")
    except ImportError as error:  # also from a proxy that needs one more package
        raise BadInput(
            f"{spec.file}: cannot be fetched ({_line(error)}); {manual_hint(store, spec)}, or fetch it from an environment "
            "with huggingface_hub 1.0 or newer"
        ) from None
    except (OSError, ValueError) as error:  # what the environment says of proxies and certificates
        reason = f"{spec.file}: cannot be fetched, check the variables for proxies and certificates ({_line(error)})"
        raise BadInput(f"{reason}, or {manual_hint(store, spec)}") from None
    return _Hub(
        _address() or constants.ENDPOINT,
        session,
        utils.build_hf_headers(headers={"user-agent": "cscs", "accept-encoding": "identity"}),
        constants.HF_HUB_DOWNLOAD_TIMEOUT,
        errors.OfflineModeIsEnabled,
        errors.HfHubHTTPError,
        errors.HfHubHTTPError.__mro__[1],  # httpx.HTTPError or httpx2.HTTPError
    )


def _download(hub: _Hub, spec: ModelSpec, partial: Path, progress: Progress) -> None:
    """Completes the partial file and verifies it; what came is kept unless it is wrong."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    assert spec.repo is not None
    url = hf_hub_url(spec.repo, spec.path or spec.file, revision=spec.revision, endpoint=hub.address)
    offered = get_hf_file_metadata(url, headers=hub.headers)
    total = spec.bytes or offered.size
    other = re.fullmatch("[0-9a-f]{64}", offered.etag or "") and offered.etag != spec.sha256
    if other or total is None or offered.size not in (None, total):
        raise BadInput(f"{spec.file}: {hub.address} has another file in its place; nothing was fetched")
    if size(partial) > total:
        partial.unlink()
    if shutil.disk_usage(partial.parent).free < (missing := total - size(partial)):
        raise BadInput(f"{partial.parent}: no room for the {missing:,} bytes of {spec.file} that are still to come")
    while (done := size(partial)) < total:
        problem = None
        try:
            _receive(hub, url, partial, total, progress)
        except hub.refused:
            raise
        except hub.failed as error:
            problem = error
        if size(partial) <= done:  # as long as something comes there is hope
            raise BadInput(_broken(hub, spec, problem))
    if sha256(partial) != spec.sha256:
        partial.unlink()
        raise BadInput(f"{spec.file}: what came has another sha256 than the file that is wanted; deleted, try again")


def _receive(hub: _Hub, url: str, partial: Path, total: int, progress: Progress) -> None:
    """Appends what the partial file lacks, as far as the connection holds."""
    from huggingface_hub.utils import hf_raise_for_status

    with partial.open("ab") as file:
        rest = {"range": f"bytes={file.tell()}-"} if file.tell() else {}
        request = {"headers": hub.headers | rest, "timeout": hub.timeout, "follow_redirects": True}
        with hub.session.stream("GET", url, **request) as response:
            hf_raise_for_status(response)
            if response.status_code != 206:  # everything from the start, whatever was asked for
                file.seek(0)
                file.truncate()
            progress(file.tell(), total)
            for block in response.iter_bytes():
                file.write(block)
                progress(file.tell(), total)
                if file.tell() > total:
                    break


def _address() -> str | None:
    """The Hub's address if the user names another one."""
    if not (address := os.environ.get("HF_ENDPOINT", "").rstrip("/")):
        return None
    with suppress(ValueError):  # from brackets, or a port that is no number
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return address
    raise BadInput(f"HF_ENDPOINT={address}: is no address such as https://huggingface.co")


def _refusal(spec: ModelSpec, error: Any) -> str:
    """What an answer of the Hub that is not the file means."""
    response = error.response
    match response.status_code:
        case 401 | 403:
            return (
                f"{response.url.host} wants to know who asks for {spec.repo} (or it is gone): accept its terms on its "
                "page, then `hf auth login` or set HF_TOKEN"
            )
        case 404:
            return f"is no longer in {spec.repo} at {spec.revision}; look for it at {spec.url}"
        case 429:
            wait = response.headers.get("retry-after", "")
            return f"too many requests; try again {f'in {wait} s' if wait.isdecimal() else 'later'}"
        case status if status >= 500:
            return f"{response.url.host} has trouble ({status}); try again later"
        case status:
            return f"{response.url.host} refuses it ({status})"


def _broken(hub: _Hub, spec: ModelSpec, error: Exception | None) -> str:
    reason = _line(error) if error else "the file ended early"
    return f"{spec.file}: the connection to {hub.address} failed ({reason}); try again, what came is kept"


def _offline(store: Store, spec: ModelSpec) -> str:
    return f"{spec.file}: HF_HUB_OFFLINE forbids to fetch it; unset that, or {manual_hint(store, spec)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
