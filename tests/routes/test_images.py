"""Images over HTTP: upload, download, use, delete; and the sweep."""

import asyncio
import os
import tempfile
import tracemalloc
from collections.abc import AsyncIterator
from contextvars import Context
from datetime import timedelta
from io import BytesIO
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags
from PIL import Image as Pillow
from pymongo.errors import ServerSelectionTimeoutError

from config import db, files
from config.main import MAX_IMAGE_BODY_BYTES
from models.base import new_id
from models.images import Image
from models.users import Role, User, UserUpdate
from tests import factories
from tests.commands import counted
from tests.problems import assert_problem
from utils import events, image_uses, images, pictures, users

Client = httpx.AsyncClient


async def _upload(
    client: Client, by: factories.Member, data: bytes
) -> httpx.Response:
    return await client.post(
        "/v1/images", files={"file": ("my photo.jpg", data)}, auth=by
    )


async def _left() -> list[int]:
    """How many images there are, and files and chunks of any."""
    names = ("images", "images.files", "images.chunks")
    return [await db.collection(n).count_documents({}) for n in names]


async def _let_a_day_pass() -> None:
    collection = db.collection("images")
    async for image in collection.find({}):
        earlier = image["due_at"] - timedelta(days=1, seconds=1)
        await collection.update_one(
            {"_id": image["_id"]}, {"$set": {"due_at": earlier}}
        )


async def _audited() -> list[tuple[str, str]]:
    """Who deleted which image."""
    entries = db.collection("audit").find({"action": "image.deleted"})
    return [(e["actor_id"], e["target_id"]) async for e in entries]


async def _stored(image: Image | str) -> dict[str, Any] | None:
    image_id = image if isinstance(image, str) else image.id
    return await db.find_by_id("images", image_id)


async def _profile(client: Client, member: factories.Member) -> Any:
    return (await client.get(f"/v1/users/{member.user.id}")).json()


class TestUpload:
    @pytest.mark.parametrize(
        ("kind", "content_type"), sorted(pictures.CONTENT_TYPES.items())
    )
    async def test_each_format(
        self, client: Client, kind: str, content_type: str
    ) -> None:
        member = await factories.member()
        with counted() as commands:
            response = await _upload(
                client, member, factories.picture(kind, (800, 600))
            )
        assert response.status_code == 201
        image = response.json()
        assert image == {
            "id": image["id"],
            "width": 800,
            "height": 600,
            "content_type": content_type,
            "bytes": image["bytes"],
        }
        assert commands == ["find", *["insert"] * 5, "update"]
        read = await client.get(f"/v1/images/{image['id']}")
        assert read.headers["content-type"] == content_type
        assert len(read.content) == image["bytes"]
        shown = Pillow.open(BytesIO(read.content))
        assert (shown.format, shown.size) == (kind, (800, 600))

    async def test_position_and_orientation(self, client: Client) -> None:
        exif = Pillow.Exif()
        exif[ExifTags.Base.Orientation] = 6
        exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
        member = await factories.member()
        response = await _upload(client, member, factories.picture(exif=exif))
        image = response.json()
        assert (image["width"], image["height"]) == (48, 64)
        for size in ("full", "thumb"):
            read = await client.get(f"/v1/images/{image['id']}?size={size}")
            shown = Pillow.open(BytesIO(read.content))
            assert shown.size == (48, 64)
            assert not shown.getexif()
            assert b"Exif" not in read.content

    async def test_declared_types_do_not_matter(self, client: Client) -> None:
        """What counts is what the file is."""
        member = await factories.member()
        file = ("x.html", factories.picture("GIF"), "text/html")
        response = await client.post(
            "/v1/images", files={"file": file}, auth=member
        )
        assert response.json()["content_type"] == "image/gif"

    @pytest.mark.parametrize(
        "data", [b"hello", b"<svg/>", b"%PDF-1.7", b"BM" + bytes(60)]
    )
    async def test_no_picture(self, client: Client, data: bytes) -> None:
        member = await factories.member()
        response = await _upload(client, member, data)
        problem = assert_problem(response, 415, "unsupported-media-type")
        assert "image/webp" in problem["expected"]
        assert "file" in problem["detail"]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            factories.picture()[:300],
            factories.picture("PNG")[:120],
            factories.picture() + b"<script>",
            factories.picture("PNG")[:16]
            + b"\0\0\xff\xff" * 2
            + factories.picture("PNG")[24:],
        ],
        ids=range(5),
    )
    async def test_bad_picture(self, client: Client, data: bytes) -> None:
        member = await factories.member()
        response = await _upload(client, member, data)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", "file"]
        assert await _left() == [0, 0, 0]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"json": {"file": "x"}},
            {"data": {"file": "x"}},
            {"content": factories.picture()},
            {
                "content": factories.picture(),
                "headers": {"Content-Type": "image/jpeg"},
            },
        ],
        ids=range(4),
    )
    async def test_wrong_content_type(
        self, client: Client, arguments: dict[str, Any]
    ) -> None:
        member = await factories.member()
        response = await client.post("/v1/images", auth=member, **arguments)
        problem = assert_problem(response, 415, "unsupported-media-type")
        assert problem["expected"] == "multipart/form-data"

    @pytest.mark.parametrize(
        "arguments",
        [
            {"files": {"picture": factories.picture()}},
            {"files": {"file": (None, "text")}},
            {
                "files": {"file": factories.picture()},
                "data": {"title": "unknown"},
            },
            {
                "content": b"--x",
                "headers": {"Content-Type": "multipart/form-data"},
            },
            {
                "content": b"--x\r\n\r\n",
                "headers": {"Content-Type": "multipart/form-data; boundary=x"},
            },
        ],
        ids=range(5),
    )
    async def test_wrong_form(
        self, client: Client, arguments: dict[str, Any]
    ) -> None:
        member = await factories.member()
        response = await client.post("/v1/images", auth=member, **arguments)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"][0] == "body"
        assert await _left() == [0, 0, 0]

    async def test_too_large(self, client: Client) -> None:
        member = await factories.member()
        response = await _upload(client, member, bytes(MAX_IMAGE_BODY_BYTES))
        problem = assert_problem(response, 413, "body-too-large")
        assert problem["limit_bytes"] == MAX_IMAGE_BODY_BYTES

    async def test_too_large_without_a_length(self, client: Client) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            yield (
                b'--x\r\nContent-Disposition: form-data; name="file"; '
                b'filename="x"\r\n\r\n'
            )
            while True:
                sent += 65536
                yield bytes(65536)

        response = await client.post(
            "/v1/images",
            content=endless(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert_problem(response, 413, "body-too-large")
        assert sent <= MAX_IMAGE_BODY_BYTES + 2 * 65536

    async def test_other_limits_stay(self, client: Client) -> None:
        body = factories.registration(first_name="x" * 1024 * 1024)
        response = await client.post("/v1/users", json=body)
        problem = assert_problem(response, 413, "body-too-large")
        assert problem["limit_bytes"] == 1024 * 1024

    async def test_needs_a_login(self, client: Client) -> None:
        response = await client.post(
            "/v1/images", files={"file": factories.picture()}
        )
        assert_problem(response, 401, "not-authenticated")
        assert await _left() == [0, 0, 0]

    async def test_database_away_meanwhile(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is half stored does not exist, and goes after a day."""
        member = await factories.member()
        write = files.write

        async def breaks(bucket: str, file_id: str, **file: Any) -> None:
            if file_id.endswith("thumb"):
                raise ServerSelectionTimeoutError
            await write(bucket, file_id, **file)

        monkeypatch.setattr(files, "write", breaks)
        response = await _upload(client, member, factories.picture())
        assert_problem(response, 503, "database-unavailable")
        assert await _left() == [1, 1, 1]
        half = await db.collection("images").find_one()
        assert half is not None
        read = await client.get(f"/v1/images/{half['_id']}")
        assert_problem(read, 404, "image-not-found")
        body = factories.event_body(image_ids=[half["_id"]])
        use = await client.post("/v1/events", json=body, auth=member)
        assert_problem(use, 422, "invalid-request")
        assert await image_uses.sweep_images() == 0
        await _let_a_day_pass()
        assert await image_uses.sweep_images() == 1
        assert await _left() == [0, 0, 0]

    async def test_many_at_once(self, client: Client) -> None:
        member = await factories.member()
        responses = await asyncio.gather(
            *(
                _upload(client, member, factories.picture(size=(n, n)))
                for n in range(1, 9)
            )
        )
        assert [r.json()["width"] for r in responses] == list(range(1, 9))


class TestMemory:
    async def test_upload_is_never_whole_in_memory(
        self, client: Client
    ) -> None:
        """The client sends from a file, as over the network."""
        side = 2700
        noise = Pillow.frombytes("RGB", (side, side), os.urandom(side**2 * 3))
        member = await factories.member()
        with tempfile.TemporaryFile() as file:
            noise.save(file, "JPEG", quality=92)
            length = file.tell()
            assert 7_000_000 < length < MAX_IMAGE_BODY_BYTES
            del noise
            file.seek(0)

            async def body() -> AsyncIterator[bytes]:
                yield (
                    b'--x\r\nContent-Disposition: form-data; name="file"; '
                    b'filename="x"\r\n\r\n'
                )
                while part := file.read(65536):
                    yield part
                yield b"\r\n--x--\r\n"

            tracemalloc.start()
            try:
                response = await client.post(
                    "/v1/images",
                    content=body(),
                    headers={"Content-Type": "multipart/form-data; boundary=x"},
                    auth=member,
                )
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert response.status_code == 201, response.text
        assert response.json()["bytes"] == pytest.approx(length, rel=0.1)
        assert peak < 6_000_000


class TestDownload:
    async def test_whole(self, client: Client) -> None:
        image = await factories.image(kind="PNG", size=(900, 300))
        with counted() as commands:
            response = await client.get(f"/v1/images/{image.id}")
        assert response.status_code == 200
        assert (
            response.headers.items()
            >= {
                "content-type": "image/png",
                "content-length": str(image.bytes),
                "cache-control": "public, max-age=31536000, immutable",
                "etag": f'"{image.id}-full"',
                "accept-ranges": "bytes",
                "x-content-type-options": "nosniff",
                "content-security-policy": "default-src 'none'; sandbox",
            }.items()
        )
        assert len(response.content) == image.bytes
        assert commands == ["find", "find"]

    async def test_thumb(self, client: Client) -> None:
        image = await factories.image(kind="PNG", size=(900, 300))
        path = f"/v1/images/{image.id}"
        response = await client.get(path, params={"size": "thumb"})
        assert response.headers["content-type"] == "image/webp"
        assert response.headers["etag"] == f'"{image.id}-thumb"'
        thumb = Pillow.open(BytesIO(response.content))
        assert (thumb.format, thumb.size) == ("WEBP", (512, 171))

    async def test_several_windows(self, client: Client) -> None:
        noise = Pillow.frombytes("L", (1400, 1400), os.urandom(1400 * 1400))
        file = BytesIO()
        noise.save(file, "PNG")
        image = await images.create_image(file, actor=factories.actor())
        assert image.bytes > 7 * files.CHUNK_BYTES
        response = await client.get(f"/v1/images/{image.id}")
        shown = Pillow.open(BytesIO(response.content))
        assert shown.tobytes() == noise.tobytes()

    async def test_unknown(self, client: Client) -> None:
        response = await client.get(f"/v1/images/{new_id()}")
        assert_problem(response, 404, "image-not-found")

    async def test_malformed(self, client: Client) -> None:
        for path in ("/v1/images/x", f"/v1/images/{new_id()}?size=huge"):
            response = await client.get(path)
            assert_problem(response, 422, "invalid-request")

    @pytest.mark.parametrize(
        ("tags", "status"),
        [
            ("{etag}", 304),
            ("W/{etag}", 304),
            ('"x", {etag}', 304),
            ("*", 304),
            ('"x"', 200),
            ("", 200),
        ],
    )
    async def test_known_already(
        self, client: Client, tags: str, status: int
    ) -> None:
        image = await factories.image()
        header = tags.format(etag=f'"{image.id}-full"')
        with counted() as commands:
            response = await client.get(
                f"/v1/images/{image.id}",
                headers={"If-None-Match": header, "Range": "bytes=0-3"}
                if status == 304
                else {"If-None-Match": header},
            )
        assert response.status_code == status
        assert response.headers["etag"] == f'"{image.id}-full"'
        assert "immutable" in response.headers["cache-control"]
        if status == 304:
            assert response.content == b""
            assert commands == ["find"]

    async def test_head(self, client: Client) -> None:
        image = await factories.image()
        path = f"/v1/images/{image.id}"
        get = await client.get(path)
        for headers in (
            {},
            {"Range": "bytes=0-1"},
            {"Range": "bytes=9999999-"},
        ):
            head = await client.head(path, headers=headers)
            assert (head.status_code, head.content) == (200, b"")
            for name in ("content-length", "content-type", "etag"):
                assert head.headers[name] == get.headers[name]

    async def test_needs_no_login(self, client: Client) -> None:
        """A picture is shown by `<img>`, which sends no token."""
        image = await factories.image()
        headers = {"Authorization": "Bearer expired"}
        response = await client.get(f"/v1/images/{image.id}", headers=headers)
        assert response.status_code == 200


class TestRange:
    @pytest.fixture(name="image")
    async def _image(self, client: Client) -> Image:
        del client  # The database is there, and empty.
        return await factories.image(kind="PNG", size=(300, 200))

    @given(st.integers(0, 5000), st.integers(0, 5000))
    @settings(
        deadline=None,
        max_examples=40,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    async def test_is_a_slice(
        self, client: Client, image: Image, first: int, last: int
    ) -> None:
        path = f"/v1/images/{image.id}"
        whole = (await client.get(path)).content
        first, last = sorted((first, last))
        response = await client.get(
            path, headers={"Range": f"bytes={first}-{last}"}
        )
        if first >= len(whole):
            problem = assert_problem(response, 416, "range-not-satisfiable")
            assert problem["length_bytes"] == len(whole)
            assert response.headers["content-range"] == f"bytes */{len(whole)}"
            return
        last = min(last, len(whole) - 1)
        assert response.status_code == 206
        assert response.content == whole[first : last + 1]
        assert response.headers["content-length"] == str(last + 1 - first)
        assert response.headers["content-range"] == (
            f"bytes {first}-{last}/{len(whole)}"
        )
        assert response.headers["etag"] == f'"{image.id}-full"'

    async def test_open_ends(self, client: Client, image: Image) -> None:
        path = f"/v1/images/{image.id}"
        whole = (await client.get(path)).content
        for header, part in (
            ("bytes=10-", whole[10:]),
            ("bytes=-10", whole[-10:]),
            ("bytes=-999999", whole),
            ("bytes=0-", whole),
        ):
            response = await client.get(path, headers={"Range": header})
            assert (response.status_code, response.content) == (206, part)

    @pytest.mark.parametrize(
        "header", ["bytes=0-1,4-5", "lines=0-1", "bytes=5-1", "nonsense"]
    )
    async def test_whole_instead(
        self, client: Client, image: Image, header: str
    ) -> None:
        response = await client.get(
            f"/v1/images/{image.id}", headers={"Range": header}
        )
        assert response.status_code == 200
        assert len(response.content) == image.bytes

    @pytest.mark.parametrize(
        ("tag", "status"),
        [
            ('"{id}-full"', 206),
            ('"{id}-thumb"', 200),
            ('W/"{id}-full"', 200),
            ("Wed, 21 Oct 2026 07:28:00 GMT", 200),
        ],
    )
    async def test_if_it_is_the_same(
        self, client: Client, image: Image, tag: str, status: int
    ) -> None:
        headers = {"Range": "bytes=1-3", "If-Range": tag.format(id=image.id)}
        response = await client.get(f"/v1/images/{image.id}", headers=headers)
        assert response.status_code == status
        assert len(response.content) == (3 if status == 206 else image.bytes)

    async def test_of_the_thumb(self, client: Client, image: Image) -> None:
        path = f"/v1/images/{image.id}?size=thumb"
        whole = (await client.get(path)).content
        part = await client.get(path, headers={"Range": "bytes=4-7"})
        assert part.content == whole[4:8]


class TestUse:
    async def test_in_events(self, client: Client) -> None:
        member = await factories.member()
        ids = [(await factories.image(member.actor)).id for _ in range(3)]
        body = factories.event_body(image_ids=[ids[1], ids[0], ids[1]])
        created = await client.post("/v1/events", json=body, auth=member)
        assert created.status_code == 201
        assert created.json()["image_ids"] == [ids[1], ids[0]]
        path = f"/v1/events/{created.json()['id']}"
        change = {"image_ids": [ids[2], ids[0]]}
        changed = await client.patch(path, json=change, auth=member)
        assert changed.json()["image_ids"] == [ids[2], ids[0]]
        await client.patch(path, json={"title": "New"}, auth=member)
        read = await client.get(path, auth=member)
        assert read.json()["image_ids"] == [ids[2], ids[0]]
        none = await client.patch(path, json={"image_ids": []}, auth=member)
        assert none.json()["image_ids"] == []

    async def test_in_accounts(self, client: Client) -> None:
        member = await factories.member()
        image = await factories.image(member.actor)
        assert (await _profile(client, member))["image_id"] is None
        change = {"image_id": image.id}
        response = await client.patch("/v1/users/me", json=change, auth=member)
        assert response.json()["image_id"] == image.id
        assert (await _profile(client, member))["image_id"] == image.id
        await client.patch(
            "/v1/users/me", json={"first_name": "Eva"}, auth=member
        )
        assert (await _profile(client, member))["image_id"] == image.id
        await client.patch("/v1/users/me", json={"image_id": None}, auth=member)
        assert (await _profile(client, member))["image_id"] is None

    @pytest.mark.parametrize("whose", ["nobody's", "another's"])
    async def test_not_yours(self, client: Client, whose: str) -> None:
        """Which of the two it is, is not told."""
        member = await factories.member()
        mine = await factories.image(member.actor)
        other = (
            new_id() if whose == "nobody's" else (await factories.image()).id
        )
        event = await factories.event(member.actor)
        with_both = {"image_ids": [mine.id, other]}
        for response, field in (
            (
                await client.post(
                    "/v1/events",
                    json=factories.event_body(**with_both),
                    auth=member,
                ),
                "image_ids",
            ),
            (
                await client.patch(
                    f"/v1/events/{event.id}",
                    json={"title": "New", **with_both},
                    auth=member,
                ),
                "image_ids",
            ),
            (
                await client.patch(
                    "/v1/users/me",
                    json={"first_name": "New", "image_id": other},
                    auth=member,
                ),
                "image_id",
            ),
        ):
            problem = assert_problem(response, 422, "invalid-request")
            error = problem["errors"][0]
            assert error["loc"] == ["body", field]
            assert error["msg"] == f"you have no image {other}"
        # Nothing has changed.
        read = await client.get(f"/v1/events/{event.id}", auth=member)
        assert read.json()["title"] == event.title
        assert (await _profile(client, member))["first_name"] == "Ada"
        mine_now = await _stored(mine)
        assert mine_now is not None and not mine_now["used"]

    async def test_admins_use_any(self, client: Client) -> None:
        admin, member = await factories.admin(), await factories.member()
        image = await factories.image()
        event = await factories.event(member.actor)
        path = f"/v1/events/{event.id}"
        change = {"image_ids": [image.id]}
        response = await client.patch(path, json=change, auth=admin)
        assert response.json()["image_ids"] == [image.id]
        # The creator may keep what an admin gave the event.
        own = await factories.image(member.actor)
        change = {"image_ids": [own.id, image.id]}
        response = await client.patch(path, json=change, auth=member)
        assert response.json()["image_ids"] == [own.id, image.id]

    @pytest.mark.parametrize(
        "change",
        [
            {"image_ids": [factories.UNKNOWN_ID] * 21},
            {"image_ids": ["x"]},
            {"image_ids": None},
            {"image_ids": factories.UNKNOWN_ID},
        ],
    )
    async def test_malformed(
        self, client: Client, change: dict[str, Any]
    ) -> None:
        member = await factories.member()
        body = factories.event_body(**change)
        response = await client.post("/v1/events", json=body, auth=member)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"][:2] == ["body", "image_ids"]


class TestDelete:
    async def test_by_its_owner(self, client: Client) -> None:
        member = await factories.member()
        image = await factories.image(member.actor)
        path = f"/v1/images/{image.id}"
        response = await client.delete(path, auth=member)
        assert response.status_code == 204
        assert_problem(await client.get(path), 404, "image-not-found")
        assert await _left() == [0, 0, 0]
        again = await client.delete(path, auth=member)
        assert_problem(again, 404, "image-not-found")
        assert await _audited() == []

    async def test_by_an_admin(self, client: Client) -> None:
        admin = await factories.admin()
        image = await factories.image()
        response = await client.delete(f"/v1/images/{image.id}", auth=admin)
        assert response.status_code == 204
        assert await _audited() == [(admin.user.id, image.id)]

    async def test_by_others(self, client: Client) -> None:
        member, image = await factories.member(), await factories.image()
        path = f"/v1/images/{image.id}"
        assert_problem(await client.delete(path, auth=member), 403, "forbidden")
        assert_problem(await client.delete(path), 401, "not-authenticated")
        assert (await client.get(path)).status_code == 200

    async def test_leaves_nothing_that_names_it(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        image, other = [await factories.image(member.actor) for _ in range(2)]
        event = await factories.event(
            admin.actor, image_ids=[image.id, other.id]
        )
        path = f"/v1/events/{event.id}"
        change = {"image_id": image.id}
        await client.patch("/v1/users/me", json=change, auth=member)
        before = (await client.get(path)).headers["etag"]
        await client.delete(f"/v1/images/{image.id}", auth=member)
        read = await client.get(path)
        assert read.json()["image_ids"] == [other.id]
        assert read.headers["etag"] != before
        assert (await _profile(client, member))["image_id"] is None
        # A change that was meant for the old state is stale.
        stale = await client.patch(
            path, json={"title": "x"}, auth=admin, headers={"If-Match": before}
        )
        assert_problem(stale, 412, "precondition-failed")

    async def test_twice_at_once(self, client: Client) -> None:
        member = await factories.member()
        image = await factories.image(member.actor)
        responses = await asyncio.gather(
            *(
                client.delete(f"/v1/images/{image.id}", auth=member)
                for _ in range(6)
            )
        )
        codes = sorted(response.status_code for response in responses)
        assert codes == [204] + [404] * 5
        assert await _left() == [0, 0, 0]

    async def test_crash_before_the_bytes_go(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        member = await factories.member()
        image = await factories.image(member.actor)

        async def breaks(*_: object) -> None:
            raise ServerSelectionTimeoutError

        path = f"/v1/images/{image.id}"
        with monkeypatch.context() as patch:
            patch.setattr(files, "delete", breaks)
            response = await client.delete(path, auth=member)
        assert_problem(response, 503, "database-unavailable")
        assert_problem(await client.get(path), 404, "image-not-found")
        assert await _left() == [1, 2, 2]
        assert await image_uses.sweep_images() == 1
        assert await _left() == [0, 0, 0]

    async def test_crash_before_it_is_forgotten(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Then it is as if nothing had happened."""
        admin = await factories.admin()
        image = await factories.image()
        event = await factories.event(admin.actor, image_ids=[image.id])

        async def breaks(_ids: list[str]) -> None:
            raise ServerSelectionTimeoutError

        path = f"/v1/images/{image.id}"
        with monkeypatch.context() as patch:
            patch.setattr(users, "forget_images", breaks)
            response = await client.delete(path, auth=admin)
        assert_problem(response, 503, "database-unavailable")
        assert (await client.get(path)).status_code == 200
        read = await client.get(f"/v1/events/{event.id}")
        assert read.json()["image_ids"] == [image.id]
        assert await _audited() == []

    @pytest.mark.parametrize("use", ["create", "change", "wear"])
    async def test_while_it_begins_to_be_used(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, use: str
    ) -> None:
        """Begun when it was claimed, and not yet used."""
        member = await factories.member()
        image = await factories.image(member.actor)
        event = await factories.event(member.actor)
        claim = images.claim
        deletions: list[asyncio.Task[httpx.Response]] = []

        async def claim_and_delete(ids: list[str], **by: Any) -> None:
            await claim(ids, **by)
            if ids and not deletions:
                path = f"/v1/images/{image.id}"
                # In a context of its own: no part of this transaction.
                deletions.append(
                    asyncio.create_task(
                        client.delete(path, auth=member), context=Context()
                    )
                )
                await asyncio.wait(deletions, timeout=0.3)

        monkeypatch.setattr(images, "claim", claim_and_delete)
        with_it = {"image_ids": [image.id]}
        match use:
            case "create":
                body = factories.event_body(**with_it)
                response = await client.post(
                    "/v1/events", json=body, auth=member
                )
            case "change":
                response = await client.patch(
                    f"/v1/events/{event.id}", json=with_it, auth=member
                )
            case _:
                response = await client.patch(
                    "/v1/users/me", json={"image_id": image.id}, auth=member
                )
        assert response.is_success or response.status_code == 422
        deletion = await deletions[0]
        assert deletion.status_code == 204
        assert await events.image_ids_in_use([image.id]) == set()
        assert await users.image_ids_in_use([image.id]) == set()

    async def test_while_its_wearer_changes(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Read with the image, and written when it is gone."""
        member = await factories.member()
        image = await factories.image(member.actor)
        me = "/v1/users/me"
        await client.patch(me, json={"image_id": image.id}, auth=member)
        get_user = users.get_user
        deleted = False

        async def get_and_delete(user_id: str) -> User:
            nonlocal deleted
            user = await get_user(user_id)
            if not deleted:
                deleted = True
                await image_uses.delete_image(image.id, actor=member.actor)
            return user

        monkeypatch.setattr(users, "get_user", get_and_delete)
        response = await client.patch(
            me, json={"first_name": "Eva"}, auth=member
        )
        assert response.json()["first_name"] == "Eva"
        assert response.json()["image_id"] is None

    async def test_at_once_with_uses(self, client: Client) -> None:
        """Whatever comes first, nothing names what is not there."""
        member = await factories.member()
        for _ in range(5):
            image = await factories.image(member.actor)
            body = factories.event_body(image_ids=[image.id])
            change = {"image_id": image.id}
            path = f"/v1/images/{image.id}"
            deleted, created, changed = await asyncio.gather(
                client.delete(path, auth=member),
                client.post("/v1/events", json=body, auth=member),
                client.patch("/v1/users/me", json=change, auth=member),
            )
            assert deleted.status_code == 204
            assert created.status_code in (201, 422)
            assert changed.status_code in (200, 422)
            assert await events.image_ids_in_use([image.id]) == set()
            assert await users.image_ids_in_use([image.id]) == set()


class TestOfAMember:
    async def test_all_go(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        mine = [await factories.image(member.actor) for _ in range(3)]
        other = await factories.image(admin.actor)
        event = await factories.event(
            admin.actor, image_ids=[mine[0].id, other.id]
        )
        change = {"image_id": mine[1].id}
        await client.patch("/v1/users/me", json=change, auth=member)
        await image_uses.delete_images_of(member.user.id)
        for image in mine:
            read = await client.get(f"/v1/images/{image.id}")
            assert_problem(read, 404, "image-not-found")
        read = await client.get(f"/v1/events/{event.id}")
        assert read.json()["image_ids"] == [other.id]
        assert (await _profile(client, member))["image_id"] is None
        assert await _left() == [1, 2, 2]
        # Repeating does no harm.
        await image_uses.delete_images_of(member.user.id)
        assert await _stored(other) is not None

    async def test_that_is_being_stored(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The account ends while a file is written."""
        member = await factories.member()
        write = files.write

        async def late(bucket: str, file_id: str, **file: Any) -> None:
            await write(bucket, file_id, **file)
            await image_uses.delete_images_of(member.user.id)

        monkeypatch.setattr(files, "write", late)
        response = await _upload(client, member, factories.picture())
        assert_problem(response, 401, "not-authenticated")
        assert await _left() == [0, 0, 0]


@pytest.mark.usefixtures("database")
class TestSweep:
    async def test_takes_what_nobody_uses(self) -> None:
        image = await factories.image()
        assert await image_uses.sweep_images() == 0
        await _let_a_day_pass()
        assert await image_uses.sweep_images() == 1
        assert await _left() == [0, 0, 0]
        assert await _stored(image) is None

    async def test_leaves_what_is_used(self) -> None:
        admin = await factories.admin()
        shown, worn = [await factories.image(admin.actor) for _ in range(2)]
        await factories.event(admin.actor, image_ids=[shown.id])
        await users.update_user(
            UserUpdate(image_id=worn.id),
            actor=admin.actor,
            confirmed=None,
            if_match=(),
        )
        for _ in range(4):
            await _let_a_day_pass()
            assert await image_uses.sweep_images() == 0
        assert await _left() == [2, 4, 4]

    async def test_a_day_after_the_last_use(self) -> None:
        """However long ago the sweep looked, the whole day is given."""
        creator = factories.actor(Role.ADMIN)
        image = await factories.image(creator)
        event = await factories.event(creator, image_ids=[image.id])
        await events.delete(event.id, actor=creator)
        await _let_a_day_pass()
        assert await image_uses.sweep_images() == 0
        assert await image_uses.sweep_images() == 0
        await _let_a_day_pass()
        assert await image_uses.sweep_images() == 1

    async def test_using_it_again_in_time(self) -> None:
        creator = factories.actor(Role.ADMIN)
        image = await factories.image(creator)
        event = await factories.event(creator, image_ids=[image.id])
        await events.delete(event.id, actor=creator)
        await _let_a_day_pass()
        assert await image_uses.sweep_images() == 0
        await factories.event(creator, image_ids=[image.id])
        for _ in range(3):
            await _let_a_day_pass()
            assert await image_uses.sweep_images() == 0

    async def test_more_than_one_batch(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(images, "_SWEPT_AT_ONCE", 2)
        creator = factories.actor(Role.ADMIN)
        made = [await factories.image(creator) for _ in range(7)]
        await factories.event(creator, image_ids=[i.id for i in made[:3]])
        await _let_a_day_pass()
        assert await image_uses.sweep_images() == 4
        assert await _left() == [3, 6, 6]

    async def test_several_sweeps_at_once(self) -> None:
        for _ in range(4):
            await factories.image()
        await _let_a_day_pass()
        counts = await asyncio.gather(
            *(image_uses.sweep_images() for _ in range(3))
        )
        assert sum(counts) == 4
        assert await _left() == [0, 0, 0]

    async def test_race_with_a_use(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Begun after the sweep saw that nobody uses it, and before it acts."""
        creator = factories.actor(Role.ADMIN)
        image = await factories.image(creator)
        await _let_a_day_pass()
        look = users.image_ids_in_use

        async def look_slowly(ids: list[str]) -> set[str]:
            found = await look(ids)
            if not await events.image_ids_in_use([image.id]):
                await factories.event(creator, image_ids=[image.id])
            return found

        monkeypatch.setattr(users, "image_ids_in_use", look_slowly)
        assert await image_uses.sweep_images() == 0
        assert await images.get_image(image.id)
        assert await _left() == [1, 2, 2]

    async def test_racing_uses(self, client: Client) -> None:
        """Either it is used, or it is gone and the use was refused."""
        member = await factories.member()
        kept = 0
        for _ in range(6):
            image = await factories.image(member.actor)
            await _let_a_day_pass()
            body = factories.event_body(image_ids=[image.id])
            created, swept = await asyncio.gather(
                client.post("/v1/events", json=body, auth=member),
                image_uses.sweep_images(),
            )
            used = created.status_code == 201
            kept += used
            assert used or created.status_code == 422, created.text
            assert swept == (0 if used else 1)
            assert (await _stored(image) is not None) is used
        assert (await _left())[0] == kept
