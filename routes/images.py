"""Images: upload, download, delete."""

from typing import Annotated

from fastapi import APIRouter, File, Header, Query, UploadFile, status
from pydantic import Field
from starlette.responses import Response

from docs import images as docs
from models.base import RequestModel
from models.exceptions import (
    ForbiddenError,
    ImageNotFoundError,
    RangeNotSatisfiableError,
)
from models.images import ImageRead, Size
from routes import downloads
from routes.dependencies import CurrentUser, ImageId
from routes.idempotency import IdempotentRoute
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import image_uses, images, pictures

router = APIRouter(
    prefix="/v1/images",
    tags=["Images"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


class ImageUpload(RequestModel):
    """A new image."""

    file: UploadFile = Field(
        description="A JPEG, PNG, WebP or GIF; its name does not matter.",
        examples=["the bytes of cover.jpg"],
        # Clients that were made for OpenAPI 3.0 know a file by this.
        json_schema_extra={"format": "binary"},
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_IMAGE,
    responses=member_problems(*WITH_BODY),
)
async def create_image(
    body: Annotated[ImageUpload, File()], actor: CurrentUser
) -> ImageRead:
    return ImageRead.of(await images.create_image(body.file.file, actor=actor))


@router.get(
    "/{image_id}",
    **docs.GET_IMAGE,
    response_class=Response,
    responses=downloads.responses([*pictures.CONTENT_TYPES.values()])
    | problems(ImageNotFoundError, RangeNotSatisfiableError),
)
async def get_image(
    image_id: ImageId,
    asked: Annotated[downloads.Conditions, Header()],
    size: Annotated[
        Size, Query(description="The whole picture, or a small one.")
    ] = Size.FULL,
) -> Response:
    image = await images.get_image(image_id)
    return downloads.answer(
        asked,
        etag=f'"{image.file_id(size)}"',
        media_type=image.type_of(size),
        length=image.length_of(size),
        read=lambda start, stop: images.open_image(
            image, size=size, start=start, stop=stop
        ),
    )


@router.delete(
    "/{image_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_IMAGE,
    responses=member_problems(ForbiddenError, ImageNotFoundError),
)
async def delete_image(image_id: ImageId, actor: CurrentUser) -> None:
    await image_uses.delete_image(image_id, actor=actor)
