"""How the models of others come from the Hub: the only module with network access, and only inside `fetch`.

huggingface_hub lends the address and the user's token; the requests are those of Python itself.

Nothing stands under its final name that was not whole and verified.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
    getproxies,
    proxy_bypass,
)

from ..io.files import BadInput, one_line
from .registry import ModelSpec
from .store import Store, find, manual_hint, oserror_as_bad_input, remember, sha256, size

Progress = Callable[[int, int], None]  # (bytes here, bytes in all), called while they arrive; may raise to stop

_PARTIAL = ".partial"
_BLOCK = 1 << 18  # bytes read at a time
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
    except HTTPError as error:
        error.close()
        raise BadInput(f"{spec.file}: {_refusal(spec, error)}") from None
    except _Failed as error:
        reason = f"the connection to {hub.address} failed ({error})"
        raise BadInput(f"{spec.file}: {reason}; try again, what came is kept") from None
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


class _Failed(Exception):
    """Trouble with the connection, in one line."""


@dataclass(frozen=True, slots=True)
class _Hub:
    """Where the Hub is and how it is asked."""

    address: str
    opener: OpenerDirector
    headers: dict[str, str]
    timeout: float  # seconds without a byte


def _connect(store: Store, spec: ModelSpec) -> _Hub:
    """What huggingface_hub and the environment say of the Hub; nothing is sent yet.

    The requests are made without the HTTP client of huggingface_hub, which differs between its versions.
    """
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        reason = f"{spec.file}: cannot be fetched ({_line(error)}): pip install huggingface-hub"
        raise BadInput(f"{reason}, or {manual_hint(store, spec)}") from None
    if constants.HF_HUB_OFFLINE:
        raise BadInput(_offline(store, spec))
    address = _address() or constants.ENDPOINT
    try:
        handlers = (ProxyHandler(_proxies(address)), HTTPSHandler(context=_trusted()), _Redirects())
    except (OSError, ValueError) as error:
        reason = f"{spec.file}: cannot be fetched, check the variables for proxies and certificates ({_line(error)})"
        raise BadInput(f"{reason}, or {manual_hint(store, spec)}") from None
    headers = build_hf_headers(headers={"user-agent": "cscs", "accept-encoding": "identity"})
    return _Hub(address, build_opener(*handlers), headers, constants.HF_HUB_DOWNLOAD_TIMEOUT)


def _proxies(address: str) -> dict[str, str]:
    """The proxies of this system, by the scheme of what is asked for. ALL_PROXY stands in for those not named."""
    proxies = getproxies()
    everything = proxies.pop("all", None)
    if everything:
        proxies = {"http": everything, "https": everything} | proxies
    asked = urlsplit(address)
    proxy = proxies.get(asked.scheme, "")
    if "://" in proxy and not proxy.startswith(("http://", "https://")) and not proxy_bypass(asked.netloc):
        raise ValueError(f"{proxy.partition('://')[0]} proxies are not supported, only http")  # without its password
    return proxies


def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: the user's bundle where one is named, in the variables of requests and curl or
    those that OpenSSL reads itself; else those of the system, and of certifi for a Python that finds none."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        folder = os.path.isdir(bundle)
        return ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, the token only within the Hub. A HEAD stays there: the Hub's own answer describes the file."""

    http_error_308 = HTTPRedirectHandler.http_error_302  # Python 3.10 does not know it

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        here, there = urlsplit(req.full_url), urlsplit(newurl)
        inside = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        if not inside and req.get_method() == "HEAD":
            return None
        private = ("proxy-authorization",) if inside else ("proxy-authorization", "authorization")
        kept = {name: value for name, value in req.headers.items() if name.lower() not in private}
        return Request(newurl, headers=kept, unverifiable=True, method=req.get_method())


@contextmanager
def _connection() -> Iterator[None]:
    """Turns every trouble with the connection into _Failed; HTTPError, an answer, passes."""
    try:
        yield
    except HTTPError:
        raise
    except URLError as error:
        raise _Failed(_line(error.reason)) from None
    except (OSError, HTTPException, UnicodeError) as error:
        raise _Failed(_line(error)) from None


def _ask(hub: _Hub, url: str, method: str, start: int = 0) -> HTTPResponse:
    """The answer to a request for a file, from byte `start` on. Raises HTTPError if it is none, or _Failed."""
    rest = {"range": f"bytes={start}-"} if start else {}
    with _connection():
        return hub.opener.open(Request(url, headers=hub.headers | rest, method=method), timeout=hub.timeout)


def _announced(hub: _Hub, url: str) -> tuple[str, int | None]:
    """The sha256 (or another tag) and the size that the Hub announces for a file."""
    try:
        with _ask(hub, url, "HEAD") as response:
            headers, length = response.headers, response.headers.get("Content-Length")
    except HTTPError as error:
        if not 300 <= error.code < 400:
            raise
        error.close()
        headers, length = error.headers, None  # that would be the length of the redirect
    tag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    length = headers.get("X-Linked-Size") or length or ""
    return tag.removeprefix("W/").strip('"'), int(length) if length.isdecimal() else None


def _download(hub: _Hub, spec: ModelSpec, partial: Path, progress: Progress) -> None:
    """Completes the partial file and verifies it; what came is kept unless it is wrong."""
    from huggingface_hub import hf_hub_url

    assert spec.repo is not None
    url = hf_hub_url(spec.repo, spec.path or spec.file, revision=spec.revision, endpoint=hub.address)
    tag, offered = _announced(hub, url)
    total = spec.bytes or offered
    other = re.fullmatch("[0-9a-f]{64}", tag) and tag != spec.sha256
    if other or total is None or offered not in (None, total):
        raise BadInput(f"{spec.file}: {hub.address} has another file in its place; nothing was fetched")
    if size(partial) > total:
        partial.unlink()
    if shutil.disk_usage(partial.parent).free < (missing := total - size(partial)):
        raise BadInput(f"{partial.parent}: no room for the {missing:,} bytes of {spec.file} that are still to come")
    while (done := size(partial)) < total:
        problem = None
        try:
            _receive(hub, url, partial, total, progress)
        except _Failed as error:
            problem = error
        if size(partial) <= done:  # as long as something comes there is hope
            raise problem or _Failed("the file ended early")
    if sha256(partial) != spec.sha256:
        partial.unlink()
        raise BadInput(f"{spec.file}: what came has another sha256 than the file that is wanted; deleted, try again")


def _receive(hub: _Hub, url: str, partial: Path, total: int, progress: Progress) -> None:
    """Appends what the partial file lacks, as far as the connection holds."""
    with partial.open("ab") as file, _ask(hub, url, "GET", file.tell()) as response:
        if response.status != 206:  # everything from the start, whatever was asked for
            file.seek(0)
            file.truncate()
        progress(file.tell(), total)
        while block := _block(response):
            file.write(block)
            progress(file.tell(), total)
            if file.tell() > total:
                break


def _block(response: HTTPResponse) -> bytes:
    """What has come meanwhile, at least a byte; empty at the end."""
    with _connection():
        return response.read1(_BLOCK)


def _address() -> str | None:
    """The Hub's address if the user names another one."""
    if not (address := os.environ.get("HF_ENDPOINT", "").rstrip("/")):
        return None
    with suppress(ValueError):  # from brackets, or a port that is no number
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return address
    raise BadInput(f"HF_ENDPOINT={address}: is no address such as https://huggingface.co")


def _refusal(spec: ModelSpec, error: HTTPError) -> str:
    """What an answer of the Hub that is not the file means."""
    host = urlsplit(error.url).hostname
    match error.code:
        case 401 | 403:
            return (
                f"{host} wants to know who asks for {spec.repo} (or it is gone): accept its terms on its page, then "
                "`hf auth login` or set HF_TOKEN"
            )
        case 404:
            return f"is no longer in {spec.repo} at {spec.revision}; look for it at {spec.url}"
        case 429:
            wait = error.headers.get("Retry-After", "")
            return f"too many requests; try again {f'in {wait} s' if wait.isdecimal() else 'later'}"
        case status if status >= 500:
            return f"{host} has trouble ({status}); try again later"
        case status:
            return f"{host} refuses it ({status})"


def _offline(store: Store, spec: ModelSpec) -> str:
    return f"{spec.file}: HF_HUB_OFFLINE forbids to fetch it; unset that, or {manual_hint(store, spec)}"


def _line(error: BaseException | str) -> str:
    return one_line(error) or type(error).__name__
