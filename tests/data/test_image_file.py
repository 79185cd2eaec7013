"""Image files of all kinds that people have, written here with Pillow or by hand."""

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.data.image_file import FRAMES, SHRUNK, TRANSPARENT, read_square

DEEP = np.random.default_rng(0).integers(0, 2**16, (6, 6, 4)).astype(np.uint16)


def read(path, size: int = 4, interpolation: str = "bilinear") -> np.ndarray:
    """Return pixels H x W x 3."""
    return read_square(path, size, interpolation).pixels.permute(1, 2, 0).numpy()


def scaled(values: np.ndarray) -> np.ndarray:
    return np.round(values / 65535 * 255)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return colours 0 to 255 of opacity 0 to 255 before white."""
    return colours * (alpha / 255) + 255 - alpha


def write_deep_png(path, values: np.ndarray, transparent: tuple[int, ...] = ()) -> None:
    """Write 16 bits per channel, H x W x C (grey, grey with alpha, RGB, RGBA)."""
    height, width, bands = values.shape

    def chunk(name: bytes, content: bytes) -> bytes:
        sum_of = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + sum_of

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    key = struct.pack(f">{len(transparent)}H", *transparent)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", key) if key else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_deep_tiff(
    path, values: np.ndarray, order: str, packed: bool, planar: int = 1, extra: int | None = None
) -> None:
    """Write 16 bits per channel, H x W x C with C 3 or 4, of either byte order ("<", ">")."""
    height, width, bands = values.shape
    data = (values if planar == 1 else values.transpose(2, 0, 1)).astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if packed else data
    tags = [
        (256, width),
        (257, height),
        (258, 0),
        (259, 8 if packed else 1),
        (262, 2),
        (273, 0),
        (277, bands),
        (278, height),
        (279, len(data)),
        (284, planar),
    ]
    if bands == 4:
        tags.append((338, extra))
    bits_at = 8 + 2 + 12 * len(tags) + 4
    places = {258: (3, bands, bits_at), 273: (4, 1, bits_at + 2 * bands)}
    entries = b""
    for tag, value in tags:
        kind, count, value = places.get(tag, (4, 1, value))
        entries += struct.pack(f"{order}HHII", tag, kind, count, value)
    head = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(
        head
        + struct.pack(f"{order}IH", 8, len(tags))
        + entries
        + struct.pack(f"{order}I{bands}H", 0, *[16] * bands)
        + data
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.fault("B7")
def test_png_of_16_bits_is_scaled_to_the_nearest_of_8(tmp_path, bands):
    path, values = tmp_path / "a.png", DEEP[:, :, :bands]
    write_deep_png(path, values)
    found = read(path).astype(float)
    expected = scaled(values[..., : 3 if bands > 2 else 1])
    if bands in (2, 4):
        expected = on_white(expected, scaled(values[..., -1:]))
        assert np.abs(found - expected).max() <= 1
        assert np.abs(found - expected).mean() < 0.3
    else:
        assert (found == expected).all()  # of truncated ones half would be one too dark or bright


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_tiff_of_16_bits_is_scaled_to_the_nearest_of_8(tmp_path, order, packed):
    write_deep_tiff(tmp_path / "a.tif", DEEP[..., :3], order, packed)
    assert (read(tmp_path / "a.tif") == scaled(DEEP[..., :3])).all()
    opaque = DEEP.copy()
    opaque[..., 3] = 65535
    write_deep_tiff(tmp_path / "b.tif", opaque, order, packed, extra=2)
    assert (read(tmp_path / "b.tif") == scaled(DEEP[..., :3])).all()


def test_a_key_of_16_bits_is_transparent(tmp_path):
    values = DEEP[..., :3]
    write_deep_png(tmp_path / "a.png", values, tuple(int(each) for each in values[1, 2]))
    found = read(tmp_path / "a.png")
    assert (found[1, 2] == 255).all() and (found[2, 2] == scaled(values[2, 2])).all()
    write_deep_png(tmp_path / "b.png", values[..., :1], (int(values[3, 3, 0]),))
    found = read(tmp_path / "b.png")
    assert (found[3, 3] == 255).all() and (found[2, 3] == scaled(values[2, 3, :1])).all()


def test_grey_of_16_bits_of_every_writer_is_scaled(tmp_path):
    grey = DEEP[..., 0]
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(grey).save(tmp_path / name)
        assert (read(tmp_path / name)[..., 1] == scaled(grey)).all(), name
    twelve = grey >> 4
    (tmp_path / "b.pgm").write_bytes(b"P5 6 6 4095\n" + twelve.astype(">u2").tobytes())
    assert (read(tmp_path / "b.pgm")[..., 1] == np.round(twelve / 4095 * 255)).mean() > 0.9
    Image.fromarray(grey).save(tmp_path / "packed.tif", compression="tiff_lzw")
    assert (read(tmp_path / "packed.tif")[..., 1] == scaled(grey)).all()


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: Image.new("F", (6, 6), 0.5).save(path), "mode F, whose black"),
        (lambda path: Image.new("I", (6, 6), 70_000).save(path), "mode I, whose black and white"),
        (lambda path: write_deep_tiff(path, DEEP[..., :3], "<", False, planar=2), "16 bits per ch"),
        (lambda path: write_deep_tiff(path, DEEP, "<", False, extra=1), "16 bits per channel in"),
        (lambda path: Image.fromarray(DEEP[..., 0]).save(path, tiffinfo={262: 0}), "16 bits per"),
    ],
)
def test_depths_that_cannot_be_read_in_full_are_refused(tmp_path, write, reason):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=reason):
        read(tmp_path / "a.tif")


def test_floating_point_pixels_are_refused_whatever_holds_them(tmp_path):
    Image.new("F", (6, 6), 0.5).save(tmp_path / "a.pfm")
    (tmp_path / "a.pfm").rename(tmp_path / "a.ppm")
    with pytest.raises(InputError, match="mode F, whose black"):
        read(tmp_path / "a.ppm")


RED_BEHIND = np.zeros((4, 4, 4), np.uint8)  # red everywhere, seen in the upper half alone
RED_BEHIND[..., 0], RED_BEHIND[:2, :, 3] = 255, 255


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.avif"])
def test_what_is_transparent_is_white_not_the_hidden_colour(tmp_path, name):
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(RED_BEHIND).save(tmp_path / name, **options)
    square = read_square(tmp_path / name, 4, "bilinear")
    near = 6 if name == "a.avif" else 0  # it loses a little
    expected = torch.tensor([[255, 0, 0]] * 2 + [[255, 255, 255]] * 2)
    assert (square.pixels[:, :, 0].T - expected).abs().max() <= near
    assert square.notes == {TRANSPARENT}


def test_half_transparent_is_half_white_and_opaque_is_not_noted(tmp_path):
    RGBA = np.full((4, 4, 4), 255, np.uint8)
    RGBA[..., :3] = (0, 100, 200)
    Image.fromarray(RGBA).save(tmp_path / "opaque.png")
    square = read_square(tmp_path / "opaque.png", 4, "bilinear")
    assert square.pixels[:, 0, 0].tolist() == [0, 100, 200] and not square.notes
    RGBA[..., 3] = 102  # 40 %
    Image.fromarray(RGBA).save(tmp_path / "thin.png")
    assert read(tmp_path / "thin.png")[0, 0].tolist() == [153, 193, 233]


def test_transparent_grey_palettes_and_keys_are_put_on_white(tmp_path):
    grey = Image.fromarray(np.full((4, 4), 90, np.uint8))
    grey.putalpha(Image.fromarray(np.array([[255, 0] * 2] * 4, np.uint8)))
    assert grey.mode == "LA"
    grey.save(tmp_path / "grey.png")
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([90, 90, 90, 255, 0, 0])
    palette.paste(1, (1, 0, 2, 4)), palette.paste(1, (3, 0, 4, 4))
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "palette.gif", transparency=1)
    palette.save(tmp_path / "many.png", transparency=bytes([255, 0]))
    keyed = palette.convert("RGB")
    keyed.save(tmp_path / "key.png", transparency=(255, 0, 0))
    for path in sorted(tmp_path.iterdir()):
        assert read(path)[..., 1].tolist() == [[90, 255] * 2] * 4, path.name


@pytest.mark.fault("B7")
def test_one_bit_palettes_and_printers_colours_are_read(tmp_path):
    half = np.zeros((4, 4), bool)
    half[:2] = True
    Image.fromarray(half).save(tmp_path / "bits.png")
    Image.fromarray(half).save(tmp_path / "bits.pbm")
    for name in ("bits.png", "bits.pbm"):
        assert read(tmp_path / name)[:, 0, 0].tolist() == [255, 255, 0, 0]
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    for name in ("a.jpg", "a.tif"):
        assert np.abs(read(tmp_path / name)[0, 0].astype(int) - [255, 0, 0]).max() <= 2
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "a.ppm")
    assert read(tmp_path / "a.ppm")[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"])
@pytest.mark.fault("B7")
def test_of_several_frames_the_first_is_taken_and_that_is_noted(tmp_path, name):
    frames = [Image.new("RGB", (16, 16), (grey,) * 3) for grey in (40, 140, 240)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    square = read_square(tmp_path / name, 4, "bilinear")
    assert square.notes == {FRAMES} and (square.pixels.int() - 40).abs().max() <= 4


def test_a_camera_s_second_picture_is_no_frame(tmp_path):
    frames = [Image.new("RGB", (16, 16), (grey,) * 3) for grey in (40, 140)]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    square = read_square(tmp_path / "a.jpg", 4, "bilinear")
    assert not square.notes and (square.pixels.int() - 40).abs().max() <= 2


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize(("orientation", "white"), [(3, "bottom"), (6, "right"), (8, "left")])
def test_a_camera_s_orientation_is_obeyed(tmp_path, name, orientation, white):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # white on top
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, **options)
    found = read(tmp_path / name)
    sides = {"bottom": found[-1], "right": found[:, -1], "left": found[:, 0]}
    assert min(sides, key=lambda side: np.abs(255.0 - sides[side]).max()) == white
    assert sides[white].min() > 240


PEAK = """
import json, resource, sys
from pathlib import Path
from diffusevae.data.image_file import read_square
from diffusevae.data.resizing import resize
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
square = read_square(Path(sys.argv[1]), 64, "bilinear")
image = resize(square.pixels[None], 64, "bilinear", False)[0]
print(json.dumps([peak() - before, len(square.notes), image[:, 20, 40].tolist()]))
"""


# Pillow decodes a PNG whole, with four bytes a pixel: 100 MB. As floats it would be 300 MB more.
@pytest.mark.parametrize(("name", "most"), [("a.jpg", 80), ("a.png", 180)])
@pytest.mark.fault("B7")
def test_a_huge_image_takes_little_memory_and_keeps_its_look(tmp_path, name, most):
    # A ramp to the right in red, downwards in green.
    ramp = np.linspace(0, 255, 5000).astype(np.uint8)
    pixels = np.zeros((5000, 5000, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = ramp, ramp[:, None]
    options = {"quality": 90} if name == "a.jpg" else {"compress_level": 1}
    Image.fromarray(pixels).save(tmp_path / name, **options)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / name], capture_output=True, text=True, check=True
    )
    megabytes, notes, (red, green, blue) = json.loads(done.stdout)
    assert megabytes < most and notes == 1
    assert abs(red - 255 * 40.5 / 64) < 4 and abs(green - 255 * 20.5 / 64) < 4 and blue < 3


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_large_image_is_shrunk_to_no_less_than_needed(tmp_path, interpolation):
    Image.new("L", (4200, 5000), 77).save(tmp_path / "a.png")
    square = read_square(tmp_path / "a.png", 32, interpolation)
    assert square.notes == {SHRUNK} and square.pixels.unique().tolist() == [77]
    assert 4 * 32 <= square.pixels.shape[1] == square.pixels.shape[2] < 5 * 32
    Image.new("L", (4000, 4000), 77).save(tmp_path / "b.png")
    assert read_square(tmp_path / "b.png", 32, interpolation).pixels.shape == (3, 4000, 4000)


@pytest.mark.fault("B7")
def test_a_bomb_is_refused_from_its_header(tmp_path):
    """A PNG of 30000 x 30000 or 10000 x 10000 pixels as a few bytes."""
    for side in (30_000, 10_000):
        write_deep_png(tmp_path / "a.png", np.zeros((1, 1, 1)))
        content = bytearray((tmp_path / "a.png").read_bytes())
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match="more than 89,478,485 pixels"):
            read(tmp_path / "a.png")


def test_kinds_that_programs_would_be_started_for_are_no_images(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(InputError, match="no image, whatever its name says"):
        read(tmp_path / "a.png")
