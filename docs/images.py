"""Docs of `routes/images.py`."""

from docs import EndpointDoc

CREATE_IMAGE: EndpointDoc = {
    "summary": "Upload an image",
    "description": """Keeps a picture of yours: JPEG, PNG, WebP or GIF.

The file is decoded, turned upright, brought to sRGB and written anew in its
own format. **No metadata survives**, neither the position where a photo was
taken nor a comment. Animations stay animated (GIF, WebP). A thumb that fits
512 × 512 pixels is made, too.

The request is 10 MiB at most, the picture 25 megapixels, all frames of an
animation counted. What is broken, or holds more than a picture (an archive, a
PDF, markup), is refused with 422, and any other kind of file with 415.

Use the `id` in `image_ids` of an event, or as `image_id` of your account. An
image that nobody uses is removed after a day.""",
    "response_description": "The new image, as it is served.",
}

GET_IMAGE: EndpointDoc = {
    "summary": "Download an image",
    "description": """The bytes of an image; whoever knows its id may read it.

`size=thumb` is a WebP that fits 512 × 512 pixels: of an animation, its first
frame. The bytes of an id never change, so caches keep them for a year;
`If-None-Match`, `Range` (one range) and `If-Range` are honoured.""",
}

DELETE_IMAGE: EndpointDoc = {
    "summary": "Delete an image",
    "description": "For its owner and admins. It is taken out of all events "
    "and accounts that show it. Caches may have it for longer.",
}
