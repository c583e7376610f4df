"""Template uses: a template goes only when no seats grant it any more.

Owns no collection. May call: seat_grants, session_templates.
"""

from config import transactions
from models.logins import Actor
from models.session_errors import TemplateInUseError
from utils import seat_grants, session_templates


async def delete_template(name: str, *, actor: Actor) -> None:
    """Deletes a template that no event's seats grant.

    Whoever grants it at the same time claims it in their transaction: one of
    the two comes first. Sessions keep what they were started with.

    Raises:
        TemplateNotFoundError: there is none.
        TemplateInUseError: an event that is not over grants it.
    """

    async def work() -> None:
        template = await session_templates.get_template(name)
        event_id = await seat_grants.find_user_of(name)
        if event_id is not None:
            raise TemplateInUseError(name, event_id)
        await session_templates.delete_template(template, actor=actor)

    await transactions.run(work, turn=name)
