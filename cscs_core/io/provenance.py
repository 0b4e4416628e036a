"""Provenance of edited pictures: metadata for software to read, and a visible label.

A note is a mapping with the keys `Software`, `Description` and `DigitalSourceType`. All three go into an XMP packet,
which PNG, JPEG and WebP all support (Adobe XMP specification part 3; IPTC photo metadata standard). Programs without
XMP find the text in the text chunks of a PNG and in the Exif of the other formats. A program that does not keep
metadata drops the note when it saves the picture again: the note informs, it proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .files import BadInput

# IPTC NewsCodes of September 2024, "edited using generative AI": a photo changed by such a model, as in inpainting. A
# face swap is such an edit; compositeSynthetic would be a collage with generated parts.
EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
LABEL = "AI-edited"

_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_XMP_PATHS = {  # where each key goes in the XMP packet
    "Software": "xmp:CreatorTool",
    "Description": "dc:description/rdf:Alt/rdf:li",
    "DigitalSourceType": "Iptc4xmpExt:DigitalSourceType",
}
_PNG_KEY = "XML:com.adobe.xmp"
_IMAGE_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # Exif tags
_TEXTS = {"prompt": 0x0110, "workflow": 0x010F}  # Exif Model and Make, where ComfyUI looks in a WebP
_MORE_TEXTS = 0xEA60  # the first Exif tag without a defined meaning


def synthetic(swapper: str = "") -> dict[str, str]:
    """The note for a picture with swapped faces or, without a swapper, with edited faces. It says how the picture was
    made and holds no names, paths or embeddings."""
    done = (
        f"swapped by software (cscs-face-swap, swapper {swapper})" if swapper else "edited by software (cscs-face-swap)"
    )
    return {
        "Software": "cscs-face-swap",
        "Description": f"Synthetic picture: faces were {done}.",
        "DigitalSourceType": EDITED,
    }


def settings(kind: str, note: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, Any]:
    """Arguments for PIL's save that write a note and `texts` into a PNG, JPEG or WEBP.

    `texts` holds the host's metadata, such as ComfyUI's prompt and workflow. They become text chunks of a PNG and the
    Exif fields of a WebP that ComfyUI reads; a JPEG has no place for them.
    """
    packet = _xmp(note)
    if kind == "PNG":
        chunks = PngInfo()
        for key, value in note.items():
            chunks.add_itxt(key, value)
        if packet:
            chunks.add_itxt(_PNG_KEY, packet)
        for key, value in texts.items():
            chunks.add_text(key, value)
        return {"pnginfo": chunks}
    return {"exif": _exif(note, texts if kind == "WEBP" else {}), "xmp": packet.encode()}


def read(path: str | Path) -> dict[str, str]:
    """Reads the note from a picture's XMP packet, as `synthetic` makes it; empty if there is none.

    Raises BadInput if the file is not a picture or its packet is damaged.
    """
    try:
        with Image.open(path) as picture:
            packet = picture.info.get("xmp", b"")
    except (UnidentifiedImageError, OSError) as error:
        raise BadInput(f"{path}: cannot be read as a picture ({error})") from None
    if not packet:
        return {}
    try:
        if b"<!DOCTYPE" in packet:
            raise ElementTree.ParseError("it has a document type declaration, which XMP does not allow")
        tree = ElementTree.fromstring(packet)
    except ElementTree.ParseError as error:
        raise BadInput(f"{path}: the XMP packet is damaged ({error})") from None
    found = {key: tree.findtext(f".//rdf:Description/{place}", None, _NAMESPACES) for key, place in _XMP_PATHS.items()}
    return {key: value for key, value in found.items() if value}


def labelled(image: Tensor, text: str = LABEL) -> Tensor:
    """Adds a label in the lower right corner of a picture (C, H, W) in 0..1: light text on a dark background.

    The text height is a thirtieth of the shorter side, at least 12 px. Alpha becomes 1 under the label; pixels outside
    it stay bit for bit.
    """
    channels, height, width = image.shape
    size = max(12.0, min(height, width) / 30)
    font, margin = ImageFont.load_default(size), round(size / 2)
    _, _, wide, tall = font.getbbox(text)
    plate = Image.new("L", (round(wide) + 2 * margin, round(tall) + 2 * margin), 32)
    ImageDraw.Draw(plate).text((margin, margin), text, 255, font)
    plate = plate.resize((min(plate.width, width), min(plate.height, height)))
    shade = torch.from_numpy(np.asarray(plate).astype(np.float32) / 255).to(image)
    out = image.clone()
    out[:3, height - plate.height :, width - plate.width :] = shade
    if channels == 4:
        out[3, height - plate.height :, width - plate.width :] = 1
    return out


def _xmp(note: Mapping[str, str]) -> str:
    """The XMP packet of the keys in _XMP_PATHS; empty if the note has none of them."""
    parts = []
    for key, place in _XMP_PATHS.items():
        if key in note:
            names = place.split("/")
            closed = "".join(f"</{name}>" for name in reversed(names))
            opened = "".join(f"<{name}>" for name in names).replace("<rdf:li>", '<rdf:li xml:lang="x-default">')
            parts.append(f"{opened}{escape(note[key])}{closed}")
    if not parts:
        return ""
    spaces = " ".join(f'xmlns:{name}="{address}"' for name, address in _NAMESPACES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces}><rdf:Description rdf:about="">'
        f"{''.join(parts)}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    )


def _exif(note: Mapping[str, str], texts: Mapping[str, str]) -> bytes:
    """Exif with the note as ImageDescription and Software, and each text as "key:text"."""
    exif = Image.Exif()
    others = [f"{key}: {value}" for key, value in note.items() if key not in _XMP_PATHS]
    described = " ".join(filter(None, [note.get("Description", ""), *others]))
    if described:
        exif[_IMAGE_DESCRIPTION] = described
    if "Software" in note:
        exif[_SOFTWARE] = note["Software"]
    for number, (key, value) in enumerate(texts.items()):
        exif[_TEXTS.get(key, _MORE_TEXTS + number)] = f"{key}:{value}"
    return exif.tobytes() if exif else b""
