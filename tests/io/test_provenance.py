"""What a written picture says about itself, read back by its own verb and by a plain XML parser."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cscs_core.io import images
from cscs_core.io.files import BadInput
from cscs_core.io.provenance import EDITED, labelled, read, synthetic

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
FORMATS = pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])


def packet(path: Path) -> bytes:
    """The XMP packet found in the bytes of a file by its own marks, as any reader may."""
    data = path.read_bytes()
    return data[data.index(b"<?xpacket begin=") : data.index(b"<?xpacket end=")]


@FORMATS
def test_a_note_is_read_back_as_it_was_written(tmp_path, suffix):
    path, note = tmp_path / f"a.{suffix}", synthetic("lite")
    images.write(path, torch.rand(3, 40, 60), note)
    assert read(path) == note
    assert "faces were swapped" in note["Description"] and "swapper lite" in note["Description"]


@FORMATS
def test_the_packet_names_the_source_type_where_iptc_wants_it(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    images.write(path, torch.rand(3, 40, 60), synthetic())
    described = ElementTree.fromstring(packet(path)).find(f"{RDF}RDF/{RDF}Description")
    assert described is not None and described.findtext(f"{IPTC}DigitalSourceType") == EDITED
    assert EDITED == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@FORMATS
def test_marks_of_xml_and_letters_of_the_world_survive(tmp_path, suffix):
    path, words = tmp_path / f"a.{suffix}", 'A <b> & "c" ]]> K\u00fcnstlich \u9762 \U0001f642'
    images.write(path, torch.rand(3, 8, 8), {"Description": words})
    assert read(path) == {"Description": words}


@FORMATS
def test_without_a_note_there_is_none(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    images.write(path, torch.rand(3, 8, 8))
    assert read(path) == {} and b"xpacket" not in path.read_bytes()


def test_other_programs_packets_are_read(tmp_path):
    """As ExifTool and Photoshop write them: other fields around ours."""
    chunks = PngInfo()
    chunks.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Make>x</tiff:Make>'
        '</rdf:Description><rdf:Description xmlns:q="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        "<q:DigitalSourceType>digitalCapture</q:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>",
    )
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    assert read(tmp_path / "a.png") == {"DigitalSourceType": "digitalCapture"}


@pytest.mark.parametrize("words", ["<x:xmpmeta", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_damaged_and_hostile_packets_are_refused_by_name(tmp_path, words):
    chunks = PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", words)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    with pytest.raises(BadInput, match=r"a\.png: the XMP packet is damaged"):
        read(tmp_path / "a.png")


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    for name in ("a.png", "missing.png"):
        with pytest.raises(BadInput, match=rf"{name}: cannot be read"):
            read(tmp_path / name)


def test_the_hosts_texts_are_kept_where_it_looks_for_them(tmp_path):
    texts = {"prompt": '{"1": 2}', "workflow": '{"a": "b"}', "extra": "{}"}
    for suffix in ("png", "jpg", "webp"):
        images.write(tmp_path / f"a.{suffix}", torch.rand(3, 8, 8), synthetic(), texts=texts)
    with Image.open(tmp_path / "a.png") as picture:
        assert {key: picture.info[key] for key in texts} == texts
    with Image.open(tmp_path / "a.webp") as picture:
        exif = picture.getexif()
    assert exif[0x0110] == 'prompt:{"1": 2}' and exif[0x010F] == 'workflow:{"a": "b"}' and "extra:{}" in exif.values()
    assert "Synthetic picture" in exif[0x010E]  # not taken by a text
    assert b"workflow" not in (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_alpha_is_kept(tmp_path, suffix):
    image = torch.rand(4, 16, 16)
    image[3] = torch.linspace(0, 1, 16)
    images.write(tmp_path / f"a.{suffix}", image, synthetic())
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        assert picture.mode == "RGBA" and [picture.getchannel("A").getpixel((x, 0)) for x in range(16)] == [
            17 * n for n in range(16)
        ]
    assert read(tmp_path / f"a.{suffix}") == synthetic()


def test_alpha_is_laid_over_white_where_there_is_none(tmp_path):
    image = torch.zeros(4, 16, 16)
    images.write(tmp_path / "a.jpg", image)
    assert float(images.read(tmp_path / "a.jpg").min()) > 0.99


def test_one_channel_is_grey(tmp_path):
    for suffix in ("png", "jpg", "webp"):
        images.write(tmp_path / f"a.{suffix}", torch.full((1, 16, 16), 0.4))
        assert images.read(tmp_path / f"a.{suffix}")[0, :, 3, 3].tolist() == pytest.approx([0.4] * 3, abs=0.02)


def test_quality_makes_smaller_files(tmp_path):
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    for suffix in ("jpg", "webp"):
        images.write(tmp_path / f"good.{suffix}", noise, quality=95)
        images.write(tmp_path / f"poor.{suffix}", noise, quality=20)
        assert 2 * (tmp_path / f"poor.{suffix}").stat().st_size < (tmp_path / f"good.{suffix}").stat().st_size


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_plate_is_in_the_lower_right_corner_and_nothing_else_changes(channels):
    image = torch.full((channels, 200, 300), 0.5)
    out = labelled(image)
    rows, columns = (out != image).any(0).nonzero().T
    assert int(rows.max()) == 199 and int(columns.max()) == 299
    assert int(rows.min()) > 160 and int(columns.min()) > 150
    plate = out[:, int(rows.min()) :, int(columns.min()) :]
    assert float(plate[:3].max()) > 0.9 and float(plate[:3].min()) < 0.2 and bool((image == 0.5).all())
    assert channels < 4 or bool((plate[3] == 1).all())


def test_the_plate_fits_into_the_smallest_picture():
    for size in ((1, 1), (8, 200), (200, 8)):
        assert labelled(torch.rand(3, *size)).shape == (3, *size)


def test_a_note_has_no_place_for_anything_but_what_was_done():
    assert set(synthetic("lite")) == {"Software", "Description", "DigitalSourceType"}
    assert "swapped" not in synthetic()["Description"]  # who saves does not know what was done
