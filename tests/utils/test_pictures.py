"""Pictures: what comes out of every kind of file that comes in."""

import asyncio
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import (
    ExifTags,
    Image,
    ImageChops,
    ImageCms,
    ImageDraw,
    ImageFile,
    ImageSequence,
    ImageStat,
)
from PIL.PngImagePlugin import PngInfo

from tests import factories
from utils import pictures
from utils.pictures import PictureError, UnknownFormatError

KINDS = ("JPEG", "PNG", "WEBP", "GIF")
CANARY = b"48.8698 north 2.3311 east"


def _cleaned(data: bytes) -> tuple[pictures.Picture, bytes, bytes]:
    picture = pictures.clean(BytesIO(data))
    with picture.full, picture.thumb:
        parts = []
        for file in (picture.full, picture.thumb):
            file.seek(0)
            parts.append(file.read())
        return picture, parts[0], parts[1]


def _opened(data: bytes) -> ImageFile.ImageFile:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def _full(data: bytes) -> ImageFile.ImageFile:
    return _opened(_cleaned(data)[1])


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _difference(one: Image.Image, two: Image.Image) -> int:
    """How far apart the channels of two pictures are where they are most."""
    difference = ImageChops.difference(one.convert("RGBA"), two.convert("RGBA"))
    return max(
        int(ImageStat.Stat(band).extrema[0][1]) for band in difference.split()
    )


def _on_magenta(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, "magenta")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def _blur(one: Image.Image, two: Image.Image) -> float:
    """How far apart two pictures are on average, where they can be seen."""
    difference = ImageChops.difference(_on_magenta(one), _on_magenta(two))
    return max(ImageStat.Stat(difference).mean)


def _slope(mode: str, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def _ball(at: int, ground: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (80, 60), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((at, 10, at + 30, 40), fill=(200, at * 2, 30, 255))
    return image


def _refused(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        pictures.clean(BytesIO(data))
    assert not isinstance(caught.value, UnknownFormatError)
    return str(caught.value)


class TestFormats:
    @pytest.mark.parametrize("kind", KINDS)
    def test_stays_what_it_is(self, kind: str) -> None:
        data = factories.picture(kind, (640, 320))
        picture, full, thumb = _cleaned(data)
        assert picture.content_type == f"image/{kind.lower()}"
        assert (picture.width, picture.height) == (640, 320)
        assert _opened(full).format == kind
        assert _opened(full).size == (640, 320)
        assert _difference(_opened(full), _opened(data)) <= 12
        assert _opened(thumb).format == "WEBP"
        assert _opened(thumb).size == (512, 256)

    @pytest.mark.parametrize(
        "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]
    )
    def test_png_loses_nothing(self, mode: str) -> None:
        image = (
            Image.linear_gradient("L").resize((64, 48)).point(
                lambda value: value * 200, "I"
            ).convert("I;16")
            if mode == "I;16"
            else _slope(mode)
        )  # fmt: skip
        full = _full(_saved(image, "PNG"))
        assert full.mode == mode
        assert full.tobytes() == image.tobytes()

    def test_dark_and_light_of_16_bits_in_the_thumb(self) -> None:
        image = Image.new("I;16", (20, 10), 100 * 256)
        _, _, thumb = _cleaned(_saved(image, "PNG"))
        assert _difference(
            _opened(thumb), Image.new("L", (20, 10), 100)
        ) <= 2  # fmt: skip

    @pytest.mark.parametrize(
        ("mode", "transparency"),
        [
            ("P", 1),
            ("P", bytes([0, 128, 255])),
            ("L", 128),
            ("RGB", (0, 0, 128)),
        ],
    )
    def test_transparent_colours(self, mode: str, transparency: object) -> None:
        image = Image.new("RGB", (60, 40), "navy")
        image.paste("gray", (10, 10, 40, 30))
        image.paste("orange", (0, 0, 20, 20))
        image = image.quantize(3) if mode == "P" else image.convert(mode)
        data = _saved(image, "PNG", transparency=transparency)
        alpha = _opened(data).convert("RGBA").getchannel("A")
        assert ImageStat.Stat(alpha).extrema[0][0] == 0
        _, full, thumb = _cleaned(data)
        assert _opened(full).mode == mode
        assert _difference(_opened(full), _opened(data)) == 0
        assert _opened(thumb).mode == "RGBA"
        assert _difference(
            _opened(thumb).getchannel("A"), alpha
        ) == 0  # fmt: skip

    def test_cmyk(self) -> None:
        image = Image.new("CMYK", (40, 30), (0, 255, 255, 0))
        full = _full(_saved(image, "JPEG", quality=95))
        assert full.mode == "RGB"
        assert _difference(full, Image.new("RGB", (40, 30), "red")) <= 12

    @pytest.mark.parametrize("lossless", [True, False])
    def test_webp_keeps_its_coding(self, lossless: bool) -> None:
        image = _ball(10, (0, 0, 0, 0))
        data = _saved(image, "WEBP", lossless=lossless)
        _, full, _ = _cleaned(data)
        assert (b"VP8L" in full) is lossless
        blur = _blur(_opened(full), image)
        assert blur == 0 if lossless else 0 < blur < 5

    @pytest.mark.parametrize("quality", [30, 60, 95])
    def test_jpeg_keeps_its_quality(self, quality: int) -> None:
        image = Image.effect_noise((300, 200), 60).convert("RGB")
        for subsampling in (0, 2):
            data = _saved(
                image, "JPEG", quality=quality, subsampling=subsampling
            )
            _, full, _ = _cleaned(data)
            assert len(full) == pytest.approx(len(data), rel=0.02)

    def test_jpeg_of_several_pictures(self) -> None:
        first, second = _slope("RGB"), Image.new("RGB", (64, 48), "red")
        data = _saved(first, "MPO", save_all=True, append_images=[second])
        assert _opened(data).format == "MPO"
        _, full, _ = _cleaned(data)
        assert _opened(full).format == "JPEG"
        assert len(full) < len(data)
        assert _difference(_opened(full), first) <= 12

    def test_progressive_jpeg(self) -> None:
        data = factories.picture(size=(300, 200), progressive=True)
        assert _difference(_full(data), _opened(data)) <= 4

    @pytest.mark.parametrize(
        ("size", "thumb_size"),
        [
            ((1, 1), (1, 1)),
            ((512, 512), (512, 512)),
            ((511, 30), (511, 30)),
            ((513, 513), (512, 512)),
            ((1000, 2000), (256, 512)),
            ((2000, 1), (512, 1)),
            ((1, 2000), (1, 512)),
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_thumb_fits_and_is_not_enlarged(
        self, kind: str, size: tuple[int, int], thumb_size: tuple[int, int]
    ) -> None:
        picture, full, thumb = _cleaned(factories.picture(kind, size))
        assert (picture.width, picture.height) == _opened(full).size == size
        assert _opened(thumb).size == thumb_size


# Where row 0 and column 0 of the file are to be seen (Exif 2.32, 4.6.4.A).
_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
_OPPOSITE = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
_COLOURS = {(0, 0): "red", (0, 1): "lime", (1, 0): "blue", (1, 1): "white"}


def _sides(orientation: int, row: int, column: int) -> set[str]:
    """Where a quarter of the file is to be seen."""
    first_row, first_column = _SIDES[orientation]
    return {
        _OPPOSITE[first_row] if row else first_row,
        _OPPOSITE[first_column] if column else first_column,
    }


def _place(image: Image.Image, sides: set[str]) -> tuple[int, int]:
    """The middle of that quarter of `image`."""
    x = image.width * (3 if "right" in sides else 1) // 4
    y = image.height * (3 if "bottom" in sides else 1) // 4
    return x, y


def _quarters() -> Image.Image:
    """96 × 64 pixels, each quarter in its colour, by row and column."""
    image = Image.new("RGB", (96, 64))
    for (row, column), colour in _COLOURS.items():
        image.paste(colour, (column * 48, row * 32, column * 48 + 48,
                             row * 32 + 32))  # fmt: skip
    return image


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


class TestOrientation:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_applied(self, kind: str, orientation: int) -> None:
        data = _saved(_quarters(), kind, exif=_exif(orientation))
        picture, full, thumb = _cleaned(data)
        for shown in (_opened(full), _opened(thumb)):
            assert (picture.width, picture.height) == shown.size
            assert shown.size == ((96, 64) if orientation < 5 else (64, 96))
            assert not shown.getexif()
            for (row, column), colour in _COLOURS.items():
                x, y = _place(shown, _sides(orientation, row, column))
                seen = shown.crop((x, y, x + 1, y + 1))
                wanted = Image.new("RGB", (1, 1), colour)
                assert _difference(seen, wanted) <= 20, (row, column)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_unknown_ones_are_none(self, orientation: int) -> None:
        data = _saved(_quarters(), "PNG", exif=_exif(orientation))
        assert _difference(_full(data), _quarters()) == 0

    @pytest.mark.parametrize(
        "exif",
        [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0", b"Exif\0\0" + b"\xff" * 99],
    )
    def test_broken_exif(self, exif: bytes) -> None:
        data = _saved(_quarters(), "JPEG", exif=exif)
        assert _full(data).size == (96, 64)

    def test_of_each_frame(self) -> None:
        frames = [_quarters(), _slope("RGB", (96, 64))]
        data = _saved(
            frames[0], "WEBP", save_all=True, append_images=frames[1:],
            lossless=True, exif=_exif(6),
        )  # fmt: skip
        full = _full(data)
        for frame, came in zip(
            ImageSequence.Iterator(full), frames, strict=True
        ):
            turned = came.transpose(Image.Transpose.ROTATE_270)
            assert _difference(frame, turned) == 0


def _chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    crc = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def _gps() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = CANARY.decode()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            ExifTags.GPS.GPSLatitudeRef: "N",
            ExifTags.GPS.GPSLatitude: (48.0, 52.0, 11.28),
            ExifTags.GPS.GPSProcessingMethod: CANARY,
        }
    )
    return exif


def _jpeg_with_everything() -> bytes:
    data = _saved(_slope("RGB"), "JPEG", exif=_gps(), comment=CANARY,
                  xmp=CANARY, dpi=(72, 72))  # fmt: skip
    body = b"Photoshop 3.0\0" + CANARY
    iptc = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    return data[:2] + iptc + data[2:] + CANARY


def _png_with_everything() -> bytes:
    texts = PngInfo()
    texts.add_text("Comment", CANARY.decode())
    texts.add_itxt("XML:com.adobe.xmp", CANARY.decode())
    data = _saved(_slope("RGB"), "PNG", exif=_gps(), pnginfo=texts)
    end = len(data) - 12
    mine = _chunk(b"tIME", b"\x07\xea\1\1\1\1\1") + _chunk(b"prVt", CANARY)
    return data[:end] + mine + data[end:] + CANARY


def _webp_with_everything() -> bytes:
    data = _saved(_slope("RGB"), "WEBP", exif=_gps(), xmp=CANARY) + CANARY
    mine = b"mine" + struct.pack("<I", len(CANARY)) + CANARY + b"\0"
    length = struct.unpack("<I", data[4:8])[0] + len(mine)
    end = len(data) - len(CANARY)
    return (
        data[:4] + struct.pack("<I", length) + data[8:end] + mine + CANARY
    )  # fmt: skip


def _gif_with_everything() -> bytes:
    data = _saved(_slope("P"), "GIF", comment=CANARY)
    block = bytes([len(CANARY)]) + CANARY + b"\0"
    extension = b"!\xff\x0bXMP DataXMP" + block
    return data[:-1] + extension + data[-1:] + CANARY


class TestMetadata:
    @pytest.mark.parametrize(
        "data",
        [
            _jpeg_with_everything(),
            _png_with_everything(),
            _webp_with_everything(),
            _gif_with_everything(),
        ],
        ids=KINDS,
    )
    def test_is_gone(self, data: bytes) -> None:
        assert data.count(CANARY) >= 3
        _, full, thumb = _cleaned(data)
        for written in (full, thumb):
            image = _opened(written)
            assert CANARY not in written
            assert not image.getexif()
            assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
            assert not {
                "exif", "xmp", "comment", "icc_profile", "photoshop", "Comment",
                "dpi", "extension", "mp",
            } & {str(key) for key in image.info}  # fmt: skip


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _swapped_profile() -> bytes:
    """In its colours, what sRGB calls red is green, and the reverse."""
    profile = _profile()
    swapped = profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ")
    return swapped.replace(b"????", b"gXYZ")


def _grey_profile() -> bytes:
    """Greys that are as light as their number, which sRGB's are not."""
    tags = [
        (b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)),
        (b"kTRC", b"curv\0\0\0\0\0\0\0\0"),
    ]
    table, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags:
        at = 128 + 4 + 12 * len(tags) + len(body)
        table += name + struct.pack(">II", at, len(tag))
        body += tag
    head = struct.pack(
        ">I4sI4s4s4s12s4s40s3i48s",
        128 + len(table) + len(body), b"", 0x02100000, b"mntr", b"GRAY",
        b"XYZ ", b"", b"acsp", b"", 63190, 65536, 54061, b"",
    )[:128]  # fmt: skip
    head = head[:68] + struct.pack(">3i", 63190, 65536, 54061) + head[80:]
    return head.ljust(128, b"\0") + table + body


class TestColours:
    @pytest.mark.parametrize(
        ("kind", "mode"),
        [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "P"), ("WEBP", "RGB")],
    )
    def test_are_brought_to_srgb(self, kind: str, mode: str) -> None:
        image = Image.new("RGB", (32, 32), "red").convert(mode)
        data = _saved(image, kind, icc_profile=_swapped_profile())
        _, full, thumb = _cleaned(data)
        for written in (full, thumb):
            assert "icc_profile" not in _opened(written).info
            assert _difference(
                _opened(written), Image.new("RGB", (32, 32), "lime")
            ) <= 12  # fmt: skip

    def test_transparency_stays(self) -> None:
        image = _ball(20, (255, 0, 0, 60))
        full = _full(_saved(image, "PNG", icc_profile=_swapped_profile()))
        assert full.mode == "RGBA"
        assert full.getpixel((0, 0)) == (0, 255, 0, 60)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_greys(self, kind: str) -> None:
        image = Image.new("L", (32, 32), 128)
        full = _full(_saved(image, kind, icc_profile=_grey_profile()))
        assert full.mode == "L"
        assert _difference(full, Image.new("L", (32, 32), 188)) <= 3

    def test_srgb_changes_nothing(self) -> None:
        image = _slope("RGB")
        full = _full(_saved(image, "PNG", icc_profile=_profile()))
        assert _difference(full, image) <= 1

    @pytest.mark.parametrize("mode", ["L", "LA", "1", "RGB"])
    @pytest.mark.parametrize("profile", [b"x", _profile()[:200], _profile()])
    def test_profile_that_does_not_fit(self, mode: str, profile: bytes) -> None:
        image = _slope(mode)
        full = _full(_saved(image, "PNG", icc_profile=profile))
        assert full.mode == mode
        assert _difference(full, image) <= 1


def _timeline(data: bytes) -> list[Image.Image]:
    """What is to be seen in each hundredth of a second, on magenta."""
    shown = []
    for frame in ImageSequence.Iterator(Image.open(BytesIO(data))):
        shown += [_on_magenta(frame)] * (int(frame.info["duration"]) // 10)
    return shown


def _animation(
    kind: str, frames: Sequence[Image.Image], **options: Any
) -> bytes:
    return _saved(
        frames[0], kind, save_all=True, append_images=frames[1:],
        **{"duration": [50, 70, 90, 110], "loop": 3, **options},
    )  # fmt: skip


class TestAnimations:
    @pytest.mark.parametrize("ground", [(0, 0, 0, 0), (9, 200, 90, 255)])
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("GIF", {}),
            ("GIF", {"disposal": 1}),
            ("GIF", {"disposal": 2}),
            ("GIF", {"optimize": False}),
            ("WEBP", {"lossless": True}),
        ],
    )
    def test_are_the_same(
        self,
        kind: str,
        options: dict[str, Any],
        ground: tuple[int, int, int, int],
    ) -> None:
        frames = [_ball(at, ground) for at in (0, 8, 24, 48)]
        data = _animation(kind, frames, **options)
        _, full, thumb = _cleaned(data)
        before, after = _timeline(data), _timeline(full)
        assert len(before) == len(after) == 32
        for one, two in zip(before, after, strict=True):
            assert _difference(one, two) == 0
        assert Image.open(BytesIO(full)).info["loop"] == 3
        assert getattr(_opened(thumb), "n_frames", 1) == 1
        assert _blur(_opened(thumb), frames[0]) < 5

    def test_frames_with_colours_of_their_own(self) -> None:
        noise = [Image.effect_noise((90, 60), 80) for _ in range(4)]
        frames = [Image.merge("RGB", [one] * 3).quantize() for one in noise]
        data = _animation("GIF", frames)
        _, full, _ = _cleaned(data)
        for one, two in zip(_timeline(data), _timeline(full), strict=True):
            assert _difference(one, two) == 0

    def test_played_once(self) -> None:
        frames = [_ball(0, (0, 0, 0, 255)), _ball(9, (0, 0, 0, 255))]
        data = _animation("GIF", frames, loop=None, duration=50)
        assert "loop" not in _full(data).info

    def test_many_colours_and_transparency(self) -> None:
        slope = _slope("RGB", (80, 250))
        frames = []
        for at in range(4):
            frame = Image.new("RGBA", (100, 250), (0, 0, 0, 0))
            frame.paste(slope, (at * 5, 0))
            frames.append(frame.quantize(256))
        data = _animation("GIF", frames, disposal=2)
        before, after = _timeline(data), _timeline(_cleaned(data)[1])
        for one, two in zip(before, after, strict=True):
            assert _difference(one, two) == 0

    def test_frame_that_reaches_out(self) -> None:
        frames = [Image.new("L", (60, 40), shade) for shade in (50, 200)]
        data = bytearray(_animation("GIF", frames, duration=50))
        # The second frame's image descriptor: its left edge, 20 pixels in.
        at = data.rindex(b",\0\0\0\0\x3c\0\x28\0")
        data[at + 1 : at + 3] = struct.pack("<H", 20)
        before = _timeline(bytes(data))
        assert [image.width for image in before] == [60] * 5 + [80] * 5
        after = _timeline(_cleaned(bytes(data))[1])
        for one, two in zip(before, after, strict=True):
            assert two.size == (60, 40)
            assert _difference(one.crop((0, 0, 60, 40)), two) == 0

    def test_too_many_frames(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pictures, "MAX_FRAMES", 3)
        frames = [_ball(at, (0, 0, 0, 255)) for at in range(4)]
        for kind in ("GIF", "WEBP"):
            _cleaned(_animation(kind, frames[:3], duration=50))
            assert "frames" in _refused(_animation(kind, frames))

    def test_pixels_of_all_frames_count(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pictures, "MAX_PIXELS", 80 * 60 * 3)
        frames = [_ball(at, (0, 0, 0, 255)) for at in range(4)]
        for kind in ("GIF", "WEBP"):
            _cleaned(_animation(kind, frames[:3], duration=50))
            assert "megapixels" in _refused(_animation(kind, frames))


def _claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header says that it is large."""
    data = bytearray(factories.picture(kind))
    match kind:
        case "PNG":
            head = struct.pack(">II", width, height) + data[24:29]
            data[8:33] = _chunk(b"IHDR", bytes(head))
        case "JPEG":
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", height, width)
        case "GIF":
            data[6:10] = struct.pack("<HH", width, height)
        case "WEBP":
            canvas = b"\0" * 4 + (width - 1).to_bytes(3, "little")
            canvas += (height - 1).to_bytes(3, "little")
            body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + data[12:]
            data[:] = b"RIFF" + struct.pack("<I", len(body)) + body
    return bytes(data)


class TestBombs:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("size", [(60_000, 60_000), (9_000, 9_000)])
    def test_header_is_enough(
        self,
        kind: str,
        size: tuple[int, int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def load(_image: ImageFile.ImageFile) -> None:
            pytest.fail("it was decoded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        assert "25 megapixels" in _refused(_claims(kind, *size))

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_real_one(self, kind: str) -> None:
        options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
        flat = Image.new("L", (5_001, 5_000))
        data = _saved(flat.convert("RGB"), kind, **options)
        assert len(data) < 100_000
        assert "25 megapixels" in _refused(data)

    def test_the_limit_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
        assert _full(factories.picture("PNG", (10, 10))).size == (10, 10)
        assert "megapixels" in _refused(factories.picture("PNG", (101, 1)))

    def test_text_that_swells(self) -> None:
        data = factories.picture("PNG")
        text = zlib.compress(b"\0" * 200_000_000, 1)
        bomb = _chunk(b"zTXt", b"Comment\0\0" + text)
        assert _refused(data[:33] + bomb + data[33:])

    def test_scans_without_end(self) -> None:
        data = factories.picture(size=(300, 200), progressive=True)
        last = data.rindex(b"\xff\xda")
        scan = data[last:-2]
        few = data[:-2] + scan * 100 + data[-2:]
        assert _full(few).size == (300, 200)
        many = data[:-2] + scan * 1000 + data[-2:]
        assert "scans" in _refused(many)

    def test_written_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pictures, "MAX_WRITTEN_BYTES", 400)
        for kind in KINDS:
            assert "anew" in _refused(factories.picture(kind, (900, 900)))

    def test_sides_that_webp_can_not_have(self) -> None:
        """A header may claim them; the encoder says no."""
        assert _refused(_claims("WEBP", 20_000, 30))


class TestBroken:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
    def test_truncated(self, kind: str, part: float) -> None:
        image = Image.effect_noise((200, 100), 60).convert("RGB")
        data = _saved(image, kind)
        assert "broken" in _refused(data[: max(17, int(len(data) * part))])

    def test_empty(self) -> None:
        assert "empty" in _refused(b"")

    @pytest.mark.parametrize(
        "data",
        [
            b"x",
            b"hello, I am a picture" * 100,
            b"%PDF-1.7\n",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\xff\xd8",
            b"RIFF\0\0\0\0WAVE",
            b"\0\0\0\x1cftypavif",
            _saved(_slope("RGB"), "BMP"),
            _saved(_slope("RGB"), "TIFF"),
            _saved(_slope("RGB"), "ICO"),
        ],
        ids=range(10),
    )
    def test_another_format(self, data: bytes) -> None:
        with pytest.raises(UnknownFormatError):
            pictures.clean(BytesIO(data))

    @given(
        st.sampled_from(
            [
                b"",
                b"\xff\xd8\xff",
                b"\x89PNG\r\n\x1a\n",
                b"GIF89a",
                b"RIFF\x40\0\0\0WEBPVP8 ",
            ]
        ),
        st.binary(max_size=300),
    )
    @settings(deadline=None)
    def test_anything(self, begin: bytes, rest: bytes) -> None:
        """A picture, or the one error."""
        try:
            _cleaned(begin + rest)
        except PictureError:
            pass

    @given(st.data())
    @settings(deadline=None, max_examples=200)
    def test_almost_a_picture(self, data: st.DataObject) -> None:
        whole = data.draw(st.sampled_from(_SOUND))
        at = data.draw(st.integers(0, len(whole) - 1))
        length = data.draw(st.integers(0, 8))
        other = data.draw(st.binary(max_size=8))
        try:
            _cleaned(whole[:at] + other + whole[at + length :])
        except PictureError:
            pass


_SOUND = [
    *(factories.picture(kind) for kind in KINDS),
    _jpeg_with_everything(),
    _png_with_everything(),
    _webp_with_everything(),
    _gif_with_everything(),
    _saved(_slope("RGB"), "JPEG", progressive=True, icc_profile=_profile()),
    _saved(_slope("P"), "PNG", transparency=bytes(range(256))),
    _animation("GIF", [_ball(at, (0, 0, 0, 0)) for at in (0, 9, 18, 27)]),
    _animation("WEBP", [_ball(at, (0, 0, 0, 0)) for at in (0, 9, 18, 27)]),
]


def _zip() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run.class", "x" * 100)
    return file.getvalue()


class TestForeign:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "more",
        [
            _zip(),
            b"%PDF-1.7\n%%EOF",
            b"<script>alert(1)</script>",
            b"<SCRIPT src=//x>",
            b"<?php system($_GET[0]);",
            b"<html>",
            b"<HtMl lang=en>",
            b"<svg onload=alert(1)>",
            b"<!DOCTYPE html>",
        ],
        ids=range(9),
    )
    def test_behind_the_picture(self, kind: str, more: bytes) -> None:
        assert "more than" in _refused(factories.picture(kind) + more)

    def test_in_front_of_an_archive(self) -> None:
        """The archive's own offsets need not be right."""
        data = factories.picture("PNG") + _zip() + b"x" * 70_000
        assert "more than" in _refused(factories.picture("GIF") + _zip())
        # What no tool would open as an archive is just left out.
        assert b"run.class" not in _cleaned(data)[1]

    @pytest.mark.parametrize("kind", ["JPEG", "GIF"])
    def test_in_a_comment(self, kind: str) -> None:
        for text in (b"<script>x</script>", b"*/=1;<html>"):
            assert "more than" in _refused(
                factories.picture(kind, comment=text)
            )

    def test_in_a_text(self) -> None:
        texts = PngInfo()
        texts.add_text("Title", "<svg/onload=alert(1)>")
        data = _saved(_slope("RGB"), "PNG", pnginfo=texts)
        assert "more than" in _refused(data)

    @pytest.mark.parametrize("distance", range(-10, 3))
    def test_between_two_windows(self, distance: int) -> None:
        data = factories.picture("PNG")
        data += b"x" * (3 * 64 * 1024 - len(data) + distance)
        _cleaned(data)
        assert "more than" in _refused(data + b"<script>")
        assert "more than" in _refused(data + b"<svg >")

    def test_words_that_photos_have(self) -> None:
        """Editors write XML; of four given letters, chance makes some."""
        xmp = b"<x:xmpmeta><rdf:RDF></rdf:RDF></x:xmpmeta><svgx<htmly%pdf"
        assert _full(factories.picture(xmp=xmp)).size == (64, 48)


class TestCleaned:
    async def test_one_after_the_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever becomes of who waits for it."""
        running: list[int] = []
        most = 0
        clean = pictures.clean

        def counting(file: BytesIO) -> pictures.Picture:
            nonlocal most
            running.append(threading.get_ident())
            most = max(most, len(running))
            time.sleep(0.02)
            running.remove(threading.get_ident())
            return clean(file)

        async def one() -> None:
            file = BytesIO(factories.picture())
            async with pictures.cleaned(file) as picture:
                assert picture.width == 64

        monkeypatch.setattr(pictures, "clean", counting)
        dropped = asyncio.create_task(one())
        await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.gather(*(one() for _ in range(4)))
        assert most == 1

    async def test_files_are_closed(self) -> None:
        file = BytesIO(factories.picture())
        async with pictures.cleaned(file) as picture:
            assert not (picture.full.closed or picture.thumb.closed)
        assert picture.full.closed and picture.thumb.closed
        assert not file.closed
