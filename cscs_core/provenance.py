"""What a made picture says about itself."""

from __future__ import annotations


def synthetic(swapper: str) -> dict[str, str]:
    """Metadata of a picture with swapped faces: how it was made; no names, no paths, no embeddings."""
    return {
        "Software": "cscs-face-swap",
        "Description": f"Synthetic picture: faces were swapped by software (cscs-face-swap, swapper {swapper}).",
        "DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic",
    }
