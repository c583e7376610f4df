"""Image uses: what concerns images and what shows them together.

Owns no collection. May call: events, images, users.
"""

from collections.abc import Sequence
from typing import Final

from config import transactions
from models.logins import Actor
from utils import events, images, users

# As many as a database command names with ease.
_AT_ONCE: Final = 100


async def delete_image(image_id: str, *, actor: Actor) -> None:
    """Deletes an image, and takes it out of all that shows it.

    Raises:
        ImageNotFoundError: there is none.
        ForbiddenError: it is somebody else's, and the caller no admin.
    """

    async def work() -> None:
        await images.delete(image_id, actor=actor)
        await _forget([image_id])

    await transactions.run(work, turn=image_id)
    # A crash before this leaves the bytes to the sweep.
    await images.clear([image_id])


async def delete_images_of(user_id: str) -> None:
    """Deletes a member's images; part of the end of their account.

    Nobody gets them from then on. The bytes go after that, since they would
    make a transaction large.
    """

    async def work() -> list[list[str]]:
        ids = await images.delete_images_of(user_id)
        parts = [ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE)]
        for part in parts:
            await _forget(part)
        return parts

    # A crash after this leaves the bytes to the sweep.
    for part in await transactions.run(work):
        await images.clear(part)


async def sweep_images() -> int:
    """Removes images that nobody has used for a day; counts them.

    Several sweeps at once do no harm.
    """
    gone = 0
    while due := await images.list_due():
        ids = [image.id for image in due]
        used = await events.image_ids_in_use(ids)
        used |= await users.image_ids_in_use(ids)
        gone += await images.sweep(due, used=used)
    return gone


async def _forget(ids: Sequence[str]) -> None:
    await events.forget_images(ids)
    await users.forget_images(ids)
