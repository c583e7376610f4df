"""Images: keep, show, use, delete pictures.

Owns: `images`. Indexes: see INDEXES. May call: audit, pictures. Its
files are in the bucket of the same name. An image's document is there before
its files and after them, so no file is ever without one: what a crash leaves,
the sweep finds.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from typing import IO, Any, Final

from config import db, files
from models.audit import AuditAction
from models.base import new_id, utc_now
from models.exceptions import (
    ForbiddenError,
    ImageNotFoundError,
    InvalidRequestError,
    NotAuthenticatedError,
    UnsupportedMediaTypeError,
)
from models.images import Image, Size, file_id
from models.logins import Actor
from utils import audit, pictures

COLLECTION: Final = "images"
DOCUMENTS: Final = (Image,)
INDEXES: Final = [
    # A change names the revision that it read, and is lost on a newer one.
    db.IndexModel("revision", unique=True),
    db.IndexModel("owner_id"),
    db.IndexModel("due_at"),
]

# An image that nobody uses is kept this long.
UNUSED: Final = timedelta(days=1)

_SWEPT_AT_ONCE: Final = 100
_TYPES: Final = ", ".join(pictures.CONTENT_TYPES.values())


async def get_image(image_id: str) -> Image:
    """The image with this id.

    Raises:
        ImageNotFoundError: there is none.
    """
    document = await db.find_by_id(COLLECTION, image_id)
    if document is None or not document["ready"]:
        raise ImageNotFoundError(image_id)
    return Image.from_document(document)


def open_image(
    image: Image, *, size: Size, start: int, stop: int
) -> AsyncIterator[bytes]:
    """The bytes of an image in `size`, from `start` to before `stop`."""
    return files.read(COLLECTION, image.file_id(size), start=start, stop=stop)


async def create_image(file: IO[bytes], *, actor: Actor) -> Image:
    """Keeps the picture in `file`, upright, without its metadata.

    Raises:
        UnsupportedMediaTypeError: the file is in no format that is kept.
        InvalidRequestError: the picture is broken, too large, or more than a
            picture.
        NotAuthenticatedError: the account was closed meanwhile.
    """
    try:
        async with pictures.cleaned(file) as picture:
            return await _store(picture, actor.user_id)
    except pictures.UnknownFormatError:
        raise UnsupportedMediaTypeError(_TYPES, part="file") from None
    except pictures.PictureError as error:
        raise InvalidRequestError.at("body", "file", msg=str(error)) from None


async def claim(ids: Sequence[str], *, actor: Actor, field: str) -> None:
    """Says that images are to be used; part of the transaction that does it.

    It changes each image. So of a claim and a racing deletion, one comes
    first, and the other one sees what it did.

    Args:
        ids: the images.
        actor: their owner, or an admin, who may use any.
        field: where in the body they are named.

    Raises:
        InvalidRequestError: one is not there, or somebody else's.
    """
    while ids:
        images = await _find({"_id": {"$in": list(ids)}})
        found = [image for image in images if image.ready]
        allowed = {
            image.id
            for image in found
            if actor.is_admin or image.owner_id == actor.user_id
        }
        for image_id in ids:
            if image_id not in allowed:
                # Whose it is, is nobody else's business.
                raise InvalidRequestError.at(
                    "body", field, msg=f"you have no image {image_id}"
                )
        if await _change(found, used=True):
            return


async def delete(image_id: str, *, actor: Actor) -> None:
    """Ends an image for everybody; `clear` removes what is left of it.

    Raises:
        ImageNotFoundError: there is none.
        ForbiddenError: it is somebody else's, and the caller no admin.
    """
    while True:
        image = await get_image(image_id)
        if not (actor.is_admin or image.owner_id == actor.user_id):
            raise ForbiddenError("Only its owner or an admin may delete it.")
        if await _change([image], ready=False, due_at=utc_now()):
            break
    if image.owner_id != actor.user_id:
        await audit.record(
            AuditAction.IMAGE_DELETED,
            actor_id=actor.user_id,
            target_id=image_id,
        )


async def delete_images_of(user_id: str) -> list[str]:
    """Ends all images of a member; `clear` removes what is left of them.

    Those that are being stored end too.

    Returns:
        Their ids.
    """
    while True:
        found = await _find({"owner_id": user_id})
        if await _change(found, ready=False, due_at=utc_now()):
            return [image.id for image in found]


async def list_of(user_id: str) -> list[Image]:
    """The images of a member."""
    found = await _find({"owner_id": user_id})
    return [image for image in found if image.ready]


async def list_due() -> list[Image]:
    """Some of the images that the sweep is to look at."""
    return await _find({"due_at": {"$lt": utc_now()}}, limit=_SWEPT_AT_ONCE)


async def sweep(due: Sequence[Image], *, used: Collection[str]) -> int:
    """Clears those of `due` that nobody uses; looks at the others in a day.

    Each step names the revision that was read with `due`. A claim changed it,
    so an image that is being used meanwhile is left alone.

    Args:
        due: what `list_due` found.
        used: the ids of those that are used.

    Returns:
        How many are gone.
    """
    later = utc_now() + UNUSED
    gone = []
    for image in due:
        if image.ready and image.id in used:
            await _change([image], used=True, due_at=later)
        elif image.ready and image.used:
            # From now on a day passes, whenever it was that its use ended.
            await _change([image], used=False, due_at=later)
        elif await _change([image], ready=False):
            gone.append(image.id)
    return await clear(gone)


async def clear(ids: Sequence[str]) -> int:
    """Removes what is left of ended images; may be repeated.

    Returns:
        How many were not removed before.
    """
    if not ids:
        return 0
    await files.delete(
        COLLECTION,
        [file_id(image_id, size) for image_id in ids for size in Size],
    )
    result = await db.collection(COLLECTION).delete_many(
        {"_id": {"$in": list(ids)}}
    )
    return result.deleted_count


async def _store(picture: pictures.Picture, owner_id: str) -> Image:
    image = Image(
        owner_id=owner_id,
        width=picture.width,
        height=picture.height,
        content_type=picture.content_type,
        bytes=_length_of(picture.full),
        thumb_bytes=_length_of(picture.thumb),
        due_at=utc_now() + UNUSED,
        revision=new_id(),
    )
    await db.collection(COLLECTION).insert_one(image.dict())
    for size, file in ((Size.FULL, picture.full), (Size.THUMB, picture.thumb)):
        await files.write(COLLECTION, image.file_id(size), file=file)
    if not await _change([image], ready=True):
        await clear([image.id])
        raise NotAuthenticatedError("This account was closed.")
    return image


def _length_of(file: IO[bytes]) -> int:
    return file.seek(0, 2)


async def _find(condition: db.Document, *, limit: int = 0) -> list[Image]:
    found = db.collection(COLLECTION).find(condition, limit=limit)
    return [Image.from_document(document) async for document in found]


async def _change(found: Sequence[Image], **fields: Any) -> bool:
    """Changes images as they were read; False when one had been changed."""
    if not found:
        return True
    result = await db.collection(COLLECTION).bulk_write(
        [
            db.UpdateOne(
                {"revision": image.revision},
                {"$set": {**fields, "revision": new_id()}},
            )
            for image in found
        ]
    )
    return result.matched_count == len(found)
