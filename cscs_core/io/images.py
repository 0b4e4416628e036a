"""Pictures on disk: any PIL mode in, (1, 3, H, W) float32 RGB 0..1; PNG, JPEG and WebP out."""

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

READABLE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")  # looked for in folders
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # written, by suffix
MAX_PIXELS = 100_000_000  # 1.2 GB as float RGB
_KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # by content; no EPS, opening it runs a program


class ImageError(BadInput):
    """A picture that cannot be read or written; the message is one line and names the file."""


def picture_files(paths: list[Path]) -> list[Path]:
    """Files as given, folders as the pictures directly in them, by name."""
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
    """The picture of a file, (1, 3, H, W) float32 RGB 0..1, turned upright, in sRGB, transparency over white."""
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
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            picture = Image.open(io.BytesIO(data), formats=_KINDS)
        if picture.width * picture.height > MAX_PIXELS:
            raise ImageError(f"{path}: too large ({picture.width} x {picture.height} pixels)")
        return from_pil(picture)
    except UnidentifiedImageError:
        raise ImageError(f"{path}: is not an image of a known kind") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: too large to be opened safely") from None
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # what PIL's decoders raise on damaged files
        raise ImageError(f"{path}: the image is truncated or damaged ({error})") from None


def write(
    path: str | Path,
    image: Tensor,
    note: Mapping[str, str] = MappingProxyType({}),
    *,
    quality: int = 95,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes a picture (1, 3 or 4, H, W) in 0..1 as its suffix says, beside and then moved into place.

    One channel is grey, a fourth is alpha; a JPEG has none and is laid over white. `quality`, 1..100, is for JPEG and
    WebP. The note is what the picture says about itself, `texts` what is kept beside it: see provenance.settings.
    """
    path = Path(path)
    kind = format_of(path)
    picture = to_pil(image)
    if kind == "JPEG" and picture.mode == "RGBA":
        picture = _over_white(picture)
    try:
        with placed(path) as beside:
            kept = provenance.settings(kind, note, texts)
            picture.save(beside, kind, quality=quality, subsampling=0, **kept)  # of each what the kind knows
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from None


def format_of(path: Path) -> str:
    """PNG, JPEG or WEBP, by suffix."""
    if path.suffix.lower() not in FORMATS:
        raise ImageError(f"{path}: cannot be written; the name must end in {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def from_pil(picture: Image.Image) -> Tensor:
    """A PIL picture of any mode -> (1, 3, H, W) float32 RGB 0..1, upright, in sRGB, transparency over white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        grey = torch.from_numpy(np.asarray(picture, dtype=np.float32).copy())
        grey = grey / 65535 if picture.mode.startswith("I") else grey
        return grey.nan_to_num().clamp(0, 1).expand(1, 3, *grey.shape).contiguous()
    picture = _in_srgb(picture)
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        picture = _over_white(picture.convert("RGBA"))
    pixels = np.array(picture.convert("RGB"))
    return torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255  # HWC -> BCHW


def to_pil(image: Tensor) -> Image.Image:
    """(1, 3 or 4, H, W) grey, RGB or RGBA 0..1, clipped and rounded; not-a-number becomes black."""
    pixels = image.detach().float().nan_to_num().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    return Image.fromarray(pixels.movedim(0, -1).squeeze(-1).contiguous().numpy())


def _over_white(picture: Image.Image) -> Image.Image:
    """RGBA -> RGB."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Colours through the embedded profile, if there is one: phone cameras write Display P3."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    mode = "RGB" if picture.mode == "CMYK" else picture.mode
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(embedded):
            return picture
        return ImageCms.profileToProfile(picture, embedded, ImageCms.createProfile("sRGB"), outputMode=mode) or picture
    except (ImageCms.PyCMSError, OSError):  # a broken profile: the numbers as they stand
        return picture
