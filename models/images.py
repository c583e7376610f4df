"""Images: as stored, as shown, as named by what shows them."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, Field

from models.base import ExtendedBaseModel, ObjectId, UtcTime, utc_now

# What every thumb is.
THUMB_TYPE: Final = "image/webp"

# The id in examples.
EXAMPLE_ID: Final = "3f0e8c1a-52b7-4d9e-8a46-0c9d1f7b2e65"


class Size(StrEnum):
    """How much of an image to send."""

    FULL = "full"
    THUMB = "thumb"


def _unique(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


ImageIds = Annotated[
    list[ObjectId], Field(max_length=20), AfterValidator(_unique)
]


def file_id(image_id: str, size: Size) -> str:
    """The id of the file that holds an image in `size`."""
    return f"{image_id}-{size}"


class Image(ExtendedBaseModel):
    """An image as stored; its files lie in GridFS.

    Attributes:
        owner_id: the member who sent it.
        width: pixels, as it is to be seen.
        height: the same.
        content_type: the media type of the full size.
        bytes: the length of the full size.
        thumb_bytes: the length of the thumb.
        ready: whether its files are there. What is not ready does not exist
            for anybody; it may have files, which the sweep removes.
        used: whether somebody used it when the sweep last looked, or since.
        due_at: when the sweep looks again.
        revision: changes with every change.
    """

    owner_id: str
    width: int
    height: int
    content_type: str
    bytes: int
    thumb_bytes: int
    ready: bool = False
    used: bool = False
    due_at: UtcTime
    created_at: UtcTime = Field(default_factory=utc_now)
    revision: str

    def file_id(self, size: Size) -> str:
        """The id of the file that holds the image in `size`."""
        return file_id(self.id, size)

    def type_of(self, size: Size) -> str:
        """The media type of the image in `size`."""
        return THUMB_TYPE if size is Size.THUMB else self.content_type

    def length_of(self, size: Size) -> int:
        """The length of the image in `size`, bytes."""
        return self.thumb_bytes if size is Size.THUMB else self.bytes


class ImageRead(BaseModel):
    """An image as shown; pixels, and bytes of the full size."""

    id: str
    width: int
    height: int
    content_type: str
    bytes: int

    @classmethod
    def of(cls, image: Image) -> Self:
        """What `image` looks like."""
        return cls.model_validate(image, from_attributes=True)
