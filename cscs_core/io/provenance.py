"""What a made picture says about itself: notes that viewers and machines read, and a plate that people see.

A note is a few words by key: `Software`, `Description` and `DigitalSourceType`. All three go into an XMP packet, which
PNG, JPEG and WebP hold alike (Adobe XMP specification part 3; IPTC photo metadata standard). What knows no XMP finds
them as text chunks of a PNG and in the Exif of the others. All of it is gone once the picture is saved anew by a
program that does not keep it: a note informs, it does not prove.
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

# IPTC NewsCodes of September 2024, "edited using generative AI": enhancement with such a model, as in inpainting. That
# is a face put into a photograph. compositeSynthetic would be a collage with a part that is generative.
EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
LABEL = "AI-edited"

_SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_PLACES = {  # where XMP keeps each
    "Software": "xmp:CreatorTool",
    "Description": "dc:description/rdf:Alt/rdf:li",
    "DigitalSourceType": "Iptc4xmpExt:DigitalSourceType",
}
_PNG_KEY = "XML:com.adobe.xmp"
_IMAGE_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # Exif tags
_TEXTS = {"prompt": 0x0110, "workflow": 0x010F}  # the camera's model and maker, where ComfyUI looks in a WebP
_MORE_TEXTS = 0xEA60  # the first of the tags that nobody has defined


def synthetic(swapper: str = "") -> dict[str, str]:
    """The note of a picture whose faces were swapped, or, if no swapper is named, edited in some way: how it was made;
    no names, no paths, no embeddings."""
    done = (
        f"swapped by software (cscs-face-swap, swapper {swapper})" if swapper else "edited by software (cscs-face-swap)"
    )
    return {
        "Software": "cscs-face-swap",
        "Description": f"Synthetic picture: faces were {done}.",
        "DigitalSourceType": EDITED,
    }


def settings(kind: str, note: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of PIL's save that write a note, and `texts` beside it, into a PNG, JPEG or WEBP.

    `texts` is what the host wants kept, its prompt and workflow: text chunks of a PNG, Exif fields of a WebP as ComfyUI
    reads them, nothing in a JPEG, which has room for neither.
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
    """The note in a picture's XMP packet, as `synthetic` makes it; empty if it has none.

    Raises BadInput if the file is no picture or its packet is damaged.
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
            raise ElementTree.ParseError("a document type, which XMP never has")
        tree = ElementTree.fromstring(packet)
    except ElementTree.ParseError as error:
        raise BadInput(f"{path}: the XMP packet is damaged ({error})") from None
    found = {key: tree.findtext(f".//rdf:Description/{place}", None, _SPACES) for key, place in _PLACES.items()}
    return {key: value for key, value in found.items() if value}


def labelled(image: Tensor, text: str = LABEL) -> Tensor:
    """A picture (C, H, W) in 0..1 with a plain plate in its lower right corner: light words on a dark ground, a
    thirtieth of the shorter side high and no less than 12 px. Pixels beyond the plate stay bit for bit; alpha becomes 1
    on it."""
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
    """The packet of what XMP has a place for; empty if the note has nothing of it."""
    parts = []
    for key, place in _PLACES.items():
        if key in note:
            names = place.split("/")
            closed = "".join(f"</{name}>" for name in reversed(names))
            opened = "".join(f"<{name}>" for name in names).replace("<rdf:li>", '<rdf:li xml:lang="x-default">')
            parts.append(f"{opened}{escape(note[key])}{closed}")
    if not parts:
        return ""
    spaces = " ".join(f'xmlns:{name}="{address}"' for name, address in _SPACES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces}><rdf:Description rdf:about="">'
        f"{''.join(parts)}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    )


def _exif(note: Mapping[str, str], texts: Mapping[str, str]) -> bytes:
    """The note as description and software, each text as "key:text"."""
    exif = Image.Exif()
    others = [f"{key}: {value}" for key, value in note.items() if key not in _PLACES]
    described = " ".join(filter(None, [note.get("Description", ""), *others]))
    if described:
        exif[_IMAGE_DESCRIPTION] = described
    if "Software" in note:
        exif[_SOFTWARE] = note["Software"]
    for number, (key, value) in enumerate(texts.items()):
        exif[_TEXTS.get(key, _MORE_TEXTS + number)] = f"{key}:{value}"
    return exif.tobytes() if exif else b""
