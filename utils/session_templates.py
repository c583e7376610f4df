"""Session templates: all that sessions may run.

Owns: `session_templates`. Indexes: see INDEXES. May call: audit, etags, paging.
"""

from collections.abc import Collection
from typing import Final

from config import db, transactions
from models.audit import AuditAction
from models.base import Page, PageQuery, new_id, utc_now
from models.exceptions import InvalidRequestError
from models.logins import Actor
from models.session_errors import TemplateExistsError, TemplateNotFoundError
from models.session_templates import (
    SessionTemplate,
    TemplateCreate,
    TemplateRead,
    TemplateUpdate,
)
from utils import audit, etags, paging

COLLECTION: Final = "session_templates"
DOCUMENTS: Final = (SessionTemplate,)
INDEXES: Final = [
    db.IndexModel("name", unique=True),
    # A change names the revision that it read, and is lost on a newer one.
    db.IndexModel("revision", unique=True),
    db.IndexModel([("created_at", db.ASCENDING), ("_id", db.ASCENDING)]),
]


async def get_template(name: str) -> SessionTemplate:
    """The template with this name.

    Raises:
        TemplateNotFoundError: there is none.
    """
    document = await db.collection(COLLECTION).find_one({"name": name})
    if document is None:
        raise TemplateNotFoundError(name)
    return SessionTemplate.from_document(document)


async def list_templates(query: PageQuery) -> Page[TemplateRead]:
    """A page of the templates, the oldest first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query),
        key="created_at",
        select={},
        show=lambda document: TemplateRead.of(
            SessionTemplate.from_document(document)
        ),
    )


async def create_template(
    new: TemplateCreate, *, actor_id: str | None
) -> SessionTemplate:
    """Lets sessions run something new.

    Raises:
        TemplateExistsError: there is one with this name.
    """
    template = SessionTemplate(**new.model_dump())

    async def work() -> None:
        try:
            await db.collection(COLLECTION).insert_one(template.dict())
        except db.DuplicateKeyError:
            raise TemplateExistsError(new.name) from None
        await audit.record(
            AuditAction.TEMPLATE_CREATED,
            actor_id=actor_id,
            target_id=template.id,
            template=template.name,
            image=template.image,
        )

    await transactions.run(work, turn=new.name)
    return template


async def update_template(
    name: str,
    change: TemplateUpdate,
    *,
    actor: Actor,
    if_match: Collection[str],
) -> SessionTemplate:
    """Changes what new sessions run; those that live keep what they have.

    Raises:
        TemplateNotFoundError: there is none.
        StaleError: it is in another state than `if_match` says.
    """
    fields = change.model_dump(exclude_unset=True)

    async def work() -> SessionTemplate:
        while True:
            old = await get_template(name)
            etags.require(TemplateRead.of(old), if_match)
            new = old.model_copy(
                update={
                    **fields, "updated_at": utc_now(), "revision": new_id()
                }
            )  # fmt: skip
            result = await db.collection(COLLECTION).replace_one(
                {"revision": old.revision}, new.dict()
            )
            if result.matched_count == 1:
                break
        await audit.record(
            AuditAction.TEMPLATE_CHANGED,
            actor_id=actor.user_id,
            target_id=old.id,
            **_differences(old, new, fields),
        )
        return new

    return await transactions.run(work, turn=name)


async def claim(name: str) -> SessionTemplate:
    """Says that something uses a template; part of the transaction that does.

    It changes the template. So of a claim and a racing deletion, one comes
    first, and the other one sees what it did.

    Raises:
        InvalidRequestError: there is none; `template` of a body names it.
    """
    result = await db.collection(COLLECTION).update_one(
        {"name": name}, {"$set": {"revision": new_id()}}
    )
    if result.matched_count == 0:
        raise InvalidRequestError.at(
            "body",
            "template",
            msg=f"there is no template {name!r}: GET /v1/session-templates "
            "lists them",
        )
    return await get_template(name)


async def delete_template(template: SessionTemplate, *, actor: Actor) -> None:
    """Deletes a template that nothing uses; part of a transaction."""
    await db.collection(COLLECTION).delete_one({"_id": template.id})
    await audit.record(
        AuditAction.TEMPLATE_DELETED,
        actor_id=actor.user_id,
        target_id=template.id,
        template=template.name,
    )


def _differences(
    old: SessionTemplate, new: SessionTemplate, fields: Collection[str]
) -> dict[str, str]:
    before, after = old.model_dump(), new.model_dump()
    return {
        field: f"{before[field]} → {after[field]}"
        for field in fields
        if before[field] != after[field]
    }
