"""Image files: reads any PIL mode as (1, 3, H, W) float32 RGB 0..1, writes PNG, JPEG and WebP."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from . import provenance
from .files import BadInput, placed

READABLE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")  # picked up in folders
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # written, by suffix
MAX_PIXELS = 100_000_000  # 1.2 GB as float32 RGB
_KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # by content; no EPS: opening it runs a program


class ImageError(BadInput):
    """A picture that cannot be read or written; the message is one line that names the file."""


def picture_files(paths: list[Path]) -> list[Path]:
    """The paths, with each folder replaced by the pictures directly in it, sorted by name.

    Raises BadInput for paths that do not exist and for folders without pictures.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in READABLE)
            if not inside:
                raise BadInput(f"{path}: no pictures in this folder ({', '.join(READABLE)})")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise BadInput(f"{path}: no such file")
    return files


def read(path: str | Path) -> Tensor:
    """Reads a picture as (1, 3, H, W) float32 sRGB 0..1, rotated by its Exif tag, transparency over white.

    Raises ImageError, also for pictures of more than MAX_PIXELS.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder, not a picture")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise ImageError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked below
            picture = Image.open(io.BytesIO(data), formats=_KINDS)
        if picture.width * picture.height > MAX_PIXELS:
            raise ImageError(f"{path}: too large ({picture.width} x {picture.height} pixels)")
        return from_pil(picture)
    except UnidentifiedImageError:
        raise ImageError(f"{path}: is not an image in a known format") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: too large to open safely") from None
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # raised by PIL's decoders on damaged files
        raise ImageError(f"{path}: the image is truncated or damaged ({error})") from None


def write(
    path: str | Path,
    image: Tensor,
    note: Mapping[str, str] = MappingProxyType({}),
    *,
    quality: int = 95,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Atomically writes a picture (1, 3 or 4, H, W) in 0..1, in the format of the path's suffix.

    The channels are grey, RGB or RGBA; for JPEG, which has no alpha, transparency becomes white. `quality`, 1..100,
    applies to JPEG and WebP. `note` is the provenance note, `texts` are further metadata: see provenance.settings.
    Raises ImageError.
    """
    path = Path(path)
    kind = format_of(path)
    picture = to_pil(image)
    if kind == "JPEG" and picture.mode == "RGBA":
        picture = _over_white(picture)
    try:
        with placed(path) as temporary:
            kept = provenance.settings(kind, note, texts)
            picture.save(temporary, kind, quality=quality, subsampling=0, **kept)  # formats ignore unknown options
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from None


def format_of(path: Path) -> str:
    """PNG, JPEG or WEBP, by suffix. Raises ImageError for any other."""
    if path.suffix.lower() not in FORMATS:
        raise ImageError(f"{path}: cannot be written; the file name must end in {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def from_pil(picture: Image.Image) -> Tensor:
    """A PIL image of any mode -> (1, 3, H, W) float32 sRGB 0..1, rotated by its Exif tag, transparency over white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        grey = torch.from_numpy(np.asarray(picture, dtype=np.float32).copy())
        grey = grey / 65535 if picture.mode.startswith("I") else grey
        return clean(grey).clamp(0, 1).expand(1, 3, *grey.shape).contiguous()
    picture = _in_srgb(picture)
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        picture = _over_white(picture.convert("RGBA"))
    pixels = np.array(picture.convert("RGB"))
    return torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255  # HWC -> BCHW


def clean(images: Tensor) -> Tensor:
    """Images as float32 with NaN as 0 and infinities as 1 and 0, since a blur would spread them. Raises ValueError."""
    if not images.is_floating_point():
        raise ValueError(f"pictures must be floating-point, 0..1, not {images.dtype}")
    return images.float().nan_to_num(0.0, 1.0, 0.0)


def to_pil(image: Tensor) -> Image.Image:
    """(1, 3 or 4, H, W) grey, RGB or RGBA 0..1, clamped and rounded to 8 bits; NaN becomes 0."""
    pixels = clean(image.detach()).clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    return Image.fromarray(pixels.movedim(0, -1).squeeze(-1).contiguous().numpy())


def _over_white(picture: Image.Image) -> Image.Image:
    """RGBA -> RGB."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Converts from the embedded ICC profile, if there is one: phone cameras write Display P3."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    mode = "RGB" if picture.mode == "CMYK" else picture.mode
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(embedded):
            return picture
        return ImageCms.profileToProfile(picture, embedded, ImageCms.createProfile("sRGB"), outputMode=mode) or picture
    except (ImageCms.PyCMSError, OSError):  # a broken profile is ignored
        return picture
