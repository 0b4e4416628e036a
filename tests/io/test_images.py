"""Pictures in and out, above all the broken and unusual ones."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from cscs_core.io import images
from cscs_core.io.files import BadInput, check_writable, placed
from cscs_core.io.images import ImageError

RED, WHITE = [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8, no two corners alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), 128 + 0 * x], -1).astype(np.uint8)


def save(folder: Path, picture: Image.Image, name: str = "a.png", **options: Any) -> Path:
    path = folder / name
    picture.save(path, **options)
    return path


def png16(path: Path, samples: np.ndarray, colour: int) -> Path:
    """A 16-bit PNG, written by hand as PIL writes none in colour: (H, W, channels) uint16."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    height, width = samples.shape[:2]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, colour, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def colour_at(image: torch.Tensor, y: int = 0, x: int = 0) -> list[float]:
    return image[0, :, y, x].tolist()


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (7, 5)])
def test_png_round_trip_is_exact(tmp_path: Path, size: tuple[int, int]):
    pixels = gradient(*size)
    image = images.read(save(tmp_path, Image.fromarray(pixels)))
    assert image.shape == (1, 3, *size) and image.dtype == torch.float32
    images.write(tmp_path / "b.png", image[0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), pixels)


@pytest.mark.parametrize("name", ["b.jpg", "b.JPEG", "b.webp"])
def test_lossy_formats_stay_close(tmp_path: Path, name: str):
    image = torch.from_numpy(gradient(64, 64)).movedim(-1, 0).float() / 255
    images.write(tmp_path / name, image)
    assert (images.read(tmp_path / name)[0] - image).abs().mean() < 0.02


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path):
    path = png16(tmp_path / "g.png", np.array([[[0], [32768], [65535]]], np.uint16), 0)
    assert images.read(path)[0, :, 0].T.tolist() == pytest.approx(np.array([[0] * 3, [32768 / 65535] * 3, [1] * 3]))


@pytest.mark.parametrize(("colour", "alpha"), [(2, []), (6, [65535])])
def test_sixteen_bit_colour_keeps_its_range(tmp_path: Path, colour: int, alpha: list[int]):
    path = png16(tmp_path / "c.png", np.array([[[65535, 32768, 0, *alpha]]], np.uint16), colour)
    assert colour_at(images.read(path)) == pytest.approx([1, 0.5, 0], abs=0.005)


def test_float_tiff_is_read_as_it_stands(tmp_path: Path):
    path = save(tmp_path, Image.fromarray(np.array([[0.25, 7.0]], np.float32)), "f.tif")
    assert images.read(path)[0, 0].tolist() == [[0.25, 1.0]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "HSV", "CMYK", "LA", "RGBA", "I;16"])
def test_every_mode_becomes_three_channels(mode: str):
    picture = Image.new("L", (5, 4), 255)
    picture = picture.convert("RGB").convert(mode) if mode != "I;16" else Image.new(mode, (5, 4), 65535)
    image = images.from_pil(picture)
    assert image.shape == (1, 3, 4, 5)
    assert colour_at(image) == pytest.approx(WHITE, abs=0.01)


def test_grey_has_three_equal_channels(tmp_path: Path):
    image = images.read(save(tmp_path, Image.fromarray(gradient()[..., 0]), "g.jpg"))
    assert torch.equal(image[:, 0], image[:, 1]) and torch.equal(image[:, 0], image[:, 2])


def test_cmyk_jpeg_has_its_colours(tmp_path: Path):
    path = save(tmp_path, Image.new("RGB", (16, 16), "red").convert("CMYK"), "c.jpg", quality=95)
    assert colour_at(images.read(path), 8, 8) == pytest.approx(RED, abs=0.03)


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str, colour: tuple[int, ...]):
    assert colour_at(images.read(save(tmp_path, Image.new(mode, (2, 2), colour)))) == WHITE


def test_half_transparent_black_is_grey(tmp_path: Path):
    path = save(tmp_path, Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    assert colour_at(images.read(path)) == pytest.approx([127 / 255] * 3, abs=0.005)


def test_palette_with_a_transparent_entry(tmp_path: Path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    image = images.read(save(tmp_path, picture, transparency=1))
    assert colour_at(image, 0, 0) == RED and colour_at(image, 0, 1) == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int):
    upright = Image.fromarray(gradient())
    stored_as = {  # how the camera stored the upright picture
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if stored_as is None else upright.transpose(stored_as)
    image = images.read(save(tmp_path, stored, exif=exif.tobytes()))
    assert torch.equal(image, images.from_pil(upright))


def swapped_primaries() -> bytes:
    """The sRGB profile with red's and blue's primaries exchanged, under another name."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    return data.replace("sRGB".encode("utf-16-be"), "bRGB".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_colour_profile_is_followed(tmp_path: Path, mode: str):
    path = save(tmp_path, Image.new("RGB", (2, 2), (200, 30, 40)).convert(mode), icc_profile=swapped_primaries())
    assert colour_at(images.read(path)) == pytest.approx([40 / 255, 30 / 255, 200 / 255], abs=0.01)


@pytest.mark.parametrize("kind", ["sRGB", "LAB", "broken"])
def test_profiles_that_change_nothing_or_do_not_fit_leave_the_numbers(tmp_path: Path, kind: str):
    profile = b"broken" if kind == "broken" else ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()  # type: ignore[arg-type]
    path = save(tmp_path, Image.new("RGB", (2, 2), (200, 30, 40)), icc_profile=profile)
    assert colour_at(images.read(path)) == pytest.approx([200 / 255, 30 / 255, 40 / 255])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_pictures_say_so(tmp_path: Path, kind: str, share: float):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
    with pytest.raises(ImageError, match=r"cut\.bin: .*(truncated|known kind)"):
        images.read(path)


def make_bomb(path: Path, side: int) -> None:
    """A PNG header that promises side x side pixels."""
    png16(path, np.zeros((1, 1, 1), np.uint16), 0)
    data = bytearray(path.read_bytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_promised_sizes_are_refused_before_memory_is_taken(tmp_path: Path, side: int):
    make_bomb(tmp_path / "bomb.png", side)
    with pytest.raises(ImageError, match=r"bomb\.png: too large"):
        images.read(tmp_path / "bomb.png")


def test_what_is_no_picture_says_what_it_is(tmp_path: Path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("hello, this is a letter\n" * 9)
    (tmp_path / "drawing.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (tmp_path / "folder.png").mkdir()
    for name, message in {
        "empty.png": "the file is empty",
        "text.jpg": "is not an image",
        "drawing.png": "is not an image",
        "folder.png": "is a folder",
        "missing.png": "no such file",
        "text.jpg/below.png": "cannot be read",
    }.items():
        with pytest.raises(ImageError, match=message) as caught:
            images.read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["with space.png", "größe 面 лицо.png", "🙂.webp", "a'b\"c.jpg", "-dash.png", "n" * 240 + ".png"]
)
def test_odd_names_work(tmp_path: Path, name: str):
    images.write(tmp_path / "new folder" / name, torch.ones(3, 4, 4))
    assert images.read(tmp_path / "new folder" / name).shape == (1, 3, 4, 4)
    assert os.listdir(tmp_path / "new folder") == [name]


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.png.txt", ".png"])
def test_unknown_suffixes_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ImageError, match=r"must end in \.png"):
        images.write(tmp_path / name, torch.ones(3, 4, 4))
    assert not os.listdir(tmp_path)


def test_unwritable_places_are_said_beforehand_and_at_writing(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "a.png", tmp_path / "file" / "deep" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(BadInput, match="cannot be written"):
            check_writable(path)
        with pytest.raises(ImageError, match="cannot be written"):
            images.write(path, torch.ones(3, 4, 4))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="no permission"):
        check_writable(tmp_path / "a.png")


def test_checking_makes_nothing(tmp_path: Path):
    check_writable(tmp_path / "new" / "deep" / "a.png")
    assert not os.listdir(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images.write(tmp_path / "a.png", torch.zeros(3, 4, 4))
    before = (tmp_path / "a.png").read_bytes()

    def fail(self: Image.Image, file: Path, *_: object, **__: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ImageError, match="No space left"):
        images.write(tmp_path / "a.png", torch.ones(3, 4, 4))
    assert os.listdir(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), placed(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def test_not_a_number_is_black_and_values_are_clipped():
    picture = images.to_pil(torch.tensor([float("nan"), -1.0, 2.0]).view(3, 1, 1))
    assert picture.getpixel((0, 0)) == (0, 0, 255)


def test_png_keeps_metadata_as_text(tmp_path: Path):
    images.write(tmp_path / "a.png", torch.ones(3, 4, 4), {"Software": "cscs", "Description": "Künstliches Bild"})
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["Software"] == "cscs" and picture.info["Description"] == "Künstliches Bild"


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_exif_keeps_metadata(tmp_path: Path, name: str):
    images.write(
        tmp_path / name, torch.ones(3, 4, 4), {"Software": "cscs", "Description": "Synthetic.", "Kind": "swap"}
    )
    with Image.open(tmp_path / name) as picture:
        exif = picture.getexif()
    assert exif[0x0131] == "cscs" and "Synthetic." in exif[0x010E] and "Kind: swap" in exif[0x010E]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_without_metadata_nothing_is_noted(tmp_path: Path, name: str):
    images.write(tmp_path / name, torch.ones(3, 4, 4))
    with Image.open(tmp_path / name) as picture:
        assert not picture.getexif() and "Software" not in picture.info


def test_a_clean_picture_is_finite_and_otherwise_the_same():
    nan, inf = float("nan"), float("inf")
    given = torch.tensor([0.25, nan, inf, -inf, 1.5, -0.5])
    assert torch.equal(images.clean(given), torch.tensor([0.25, 0.0, 1.0, 0.0, 1.5, -0.5]))
    assert images.clean(given.half()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"floating-point, 0\.\.1, not torch\.uint8"):
        images.clean(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
