"""Pictures: what a file shows, written anew with nothing else in it.

Owns no collection. May call: nobody. A file is believed only as far as it
can be decoded. What leaves here was written by our own encoder, so it holds
pixels alone: no position, no comment, no second file behind the first.
"""

import asyncio
import tempfile
import warnings
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, Final

from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageSequence,
    JpegImagePlugin,
    UnidentifiedImageError,
)

CONTENT_TYPES: Final = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
}
THUMB_PIXELS: Final = 512

# Of all frames together. A pixel takes 4 bytes, and the work holds it up to
# four times.
MAX_PIXELS: Final = 25_000_000
MAX_FRAMES: Final = 500

# What is written anew may be larger than it came, but not by much.
MAX_WRITTEN_BYTES: Final = 20 * 1024 * 1024

# Each scan of a JPEG goes over the whole picture: a thousand take 20 s. Ten are
# usual; in 10 MB of something else behind the picture, chance makes 160.
_MAX_SCANS: Final = 200

_QUALITY: Final = 90
# A seventh of the default's time, for a file that is 3 % larger.
_WEBP_METHOD: Final = 2
_SPOOL_BYTES: Final = 1024 * 1024
_WINDOW_BYTES: Final = 64 * 1024

_TAG_ENDS: Final = (b" ", b">", b"/", b"\t", b"\r", b"\n")
# What makes a browser, a reader or an interpreter see another file in this
# one, in lower case. Short ones need what follows them: four given bytes stand
# in one of 50 large photos by chance.
_FOREIGN: Final = (
    b"%pdf-",
    b"<script",
    b"<?php",
    b"<!doctype",
    *(tag + end for tag in (b"<html", b"<svg") for end in _TAG_ENDS),
)
_LONGEST_FOREIGN: Final = max(map(len, _FOREIGN))

# What brings the pixels upright, by the Exif tag Orientation.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SRGB: Final = ImageCms.createProfile("sRGB")

# Memory, not the processor, is what is short: one picture after the other. A
# pool of its own counts a thread that works on after its request was dropped.
_POOL: Final = ThreadPoolExecutor(1, "pictures")

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)


class PictureError(Exception):
    """The file is not taken; the message says why, to its sender."""


class UnknownFormatError(PictureError):
    """The file is in none of the formats of CONTENT_TYPES."""


@dataclass(frozen=True)
class Picture:
    """A picture, clean, in files that are closed with it.

    Attributes:
        content_type: its media type.
        width: pixels, as it is to be seen.
        height: the same.
        full: the whole picture.
        thumb: what fits THUMB_PIXELS square, of its first frame; a WebP.
    """

    content_type: str
    width: int
    height: int
    full: IO[bytes]
    thumb: IO[bytes]

    def close(self) -> None:
        """Closes the files."""
        self.full.close()
        self.thumb.close()


@asynccontextmanager
async def cleaned(file: IO[bytes]) -> AsyncIterator[Picture]:
    """The picture in `file`, made off the event loop.

    Raises:
        UnknownFormatError: it is no JPEG, PNG, WebP or GIF.
        PictureError: it is broken, too large, or more than a picture.
    """
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(_POOL, clean, file)
    try:
        picture = await asyncio.shield(work)
    except asyncio.CancelledError:
        # The thread works on; nobody else would close what it makes.
        work.add_done_callback(_close)
        raise
    with closing(picture):
        yield picture


def clean(file: IO[bytes]) -> Picture:
    """The picture in `file`; takes seconds, and raises as `cleaned` does."""
    kind = _format_of(file)
    _refuse_foreign(file, kind)
    frames, options = _decode(file, kind)
    width, height = frames[0].size
    full = _written(frames, kind, options)
    thumb = _written([_thumb_of(frames[0])], "WEBP", {"quality": 80})
    return Picture(CONTENT_TYPES[kind], width, height, full, thumb)


def _close(work: asyncio.Future[Picture]) -> None:
    if work.exception() is None:
        work.result().close()


def _format_of(file: IO[bytes]) -> str:
    file.seek(0)
    head = file.read(16)
    if not head:
        raise PictureError("the file is empty")
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    raise UnknownFormatError("the file is no JPEG, PNG, WebP or GIF")


def _refuse_foreign(file: IO[bytes], kind: str) -> None:
    scans = 0
    for window in _windows(file):
        scans += window.count(b"\xff\xda")
        lower = window.lower()
        if any(mark in lower for mark in _FOREIGN):
            raise PictureError("the file holds more than a picture")
    if kind == "JPEG" and scans > _MAX_SCANS:
        raise PictureError("the picture is made of too many scans")
    if zipfile.is_zipfile(file):
        raise PictureError("the file holds more than a picture")


def _windows(file: IO[bytes]) -> Iterator[bytes]:
    """The file in pieces; what the next one may complete, is in both."""
    file.seek(0)
    end = b""
    while new := file.read(_WINDOW_BYTES):
        yield end + new
        end = (end + new)[1 - _LONGEST_FOREIGN :]


def _decode(
    file: IO[bytes], kind: str
) -> tuple[list[Image.Image], dict[str, Any]]:
    """All frames, upright and in sRGB; and how to write them as they came."""
    file.seek(0)
    try:
        image = Image.open(file, formats=(kind,))
        frames = list(_frames_of(image, kind))
        options = _options_of(image, kind, file)
        orientation = _orientation_of(image)
        profile = image.info.get("icc_profile")
    except (PictureError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large() from None
    except UnidentifiedImageError as error:
        raise PictureError("the picture is broken") from error
    except Exception as error:
        # A decoder trips over a broken file in ways that nobody listed.
        raise PictureError("the picture is broken") from error
    if len(frames) > 1:
        options |= _rhythm_of(frames, image.info.get("loop"), kind)
    del image
    for at, frame in enumerate(frames):
        frames[at] = _upright(_in_srgb(frame, profile), orientation)
    return frames, options


def _frames_of(image: Image.Image, kind: str) -> Iterator[Image.Image]:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise _too_large()
    if kind not in ("GIF", "WEBP") or not getattr(image, "is_animated", False):
        image.load()
        yield image
        return
    size = image.size
    for count, frame in enumerate(ImageSequence.Iterator(image), 1):
        if count > MAX_FRAMES or count * pixels > MAX_PIXELS:
            raise _too_large()
        # A frame of a GIF may reach out of its picture.
        yield frame.crop((0, 0, *size)) if frame.size != size else frame.copy()


def _too_large() -> PictureError:
    return PictureError(
        f"the picture is over {MAX_PIXELS // 1_000_000} megapixels, all "
        f"frames counted, or {MAX_FRAMES} frames"
    )


def _options_of(
    image: Image.Image, kind: str, file: IO[bytes]
) -> dict[str, Any]:
    """What keeps the quality, and with it the size, of the file as it came."""
    if kind == "WEBP":
        lossless = _is_lossless(file)
        return {
            "lossless": lossless,
            "quality": 50 if lossless else _QUALITY,
            "method": _WEBP_METHOD,
        }
    if kind == "JPEG" and image.mode in ("L", "RGB"):
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        if tables and all(max(table) < 256 for table in tables.values()):
            return {
                "qtables": list(tables.values())[:4],
                "subsampling": JpegImagePlugin.get_sampling(image),
            }
    return {"quality": _QUALITY} if kind == "JPEG" else {}


def _is_lossless(file: IO[bytes]) -> bool:
    """Whether the first bitmap of a WebP is in its lossless coding."""
    at = 12
    while True:
        file.seek(at)
        header = file.read(8)
        if header[:4] in (b"VP8 ", b"VP8L", b""):
            return header[:4] == b"VP8L"
        # The chunks of an animation's frame follow 16 bytes of its own.
        length = int.from_bytes(header[4:], "little")
        at += 8 + (16 if header[:4] == b"ANMF" else length + length % 2)


def _orientation_of(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # pylint: disable=broad-exception-caught
        # Cameras write broken Exif blocks; their pictures are fine.
        return 1


def _rhythm_of(
    frames: Sequence[Image.Image], loop: int | None, kind: str
) -> dict[str, Any]:
    rhythm: dict[str, Any] = {
        "save_all": True,
        "duration": [frame.info.get("duration", 0) for frame in frames],
    }
    if loop is not None:
        rhythm["loop"] = loop
    if kind == "GIF" and any(frame.has_transparency_data for frame in frames):
        # Each frame is whole: what it does not cover is clear again.
        rhythm["disposal"] = 2
    return rhythm


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in the colours that are meant where no profile is given."""
    grey = image.mode == "L" and not image.has_transparency_data
    if profile and (grey or image.mode in ("P", "RGB", "RGBA", "CMYK")):
        mode = "RGBA" if image.has_transparency_data else "RGB"
        # A profile speaks of colours, not of places in a palette.
        as_is = image.mode in ("L", "CMYK", mode)
        coloured = image if as_is else image.convert(mode)
        try:
            changed = ImageCms.profileToProfile(
                coloured,
                ImageCms.ImageCmsProfile(BytesIO(profile)),
                _SRGB,
                outputMode=mode,
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            # It is broken, or of another kind of picture: browsers ignore it.
            changed = None
        if changed is not None:
            return changed.convert("L") if grey else changed
    return image.convert("RGB") if image.mode == "CMYK" else image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _thumb_of(image: Image.Image) -> Image.Image:
    if image.mode == "I;16":
        # Its conversion cuts off what is lighter than 1/256 of white.
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    scale = min(THUMB_PIXELS / max(image.size), 1)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize(
        (width, height), Image.Resampling.LANCZOS, reducing_gap=2.0
    )


def _written(
    frames: Sequence[Image.Image], kind: str, options: dict[str, Any]
) -> IO[bytes]:
    """A file of `frames`; of what came with them, transparency is kept."""
    for frame in frames:
        kept = frame.info.get("transparency")
        frame.info = {} if kept is None else {"transparency": kept}
    if len(frames) > 1:
        options = {**options, "append_images": frames[1:]}
    # pylint: disable-next=consider-using-with  # the caller closes it
    file = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)
    try:
        frames[0].save(file, kind, **options)
        if file.tell() > MAX_WRITTEN_BYTES:
            raise PictureError("the picture does not fit when written anew")
    except (OSError, RuntimeError, ValueError) as error:
        # An encoder has limits of its own, such as 16 383 pixels a side.
        file.close()
        raise PictureError("the picture can't be written anew") from error
    except BaseException:
        file.close()
        raise
    return file
