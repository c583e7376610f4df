"""Session texts: what the engine, and the owner, are told of a session.

Owns no collection. May call: nobody.
"""

from config.engine import Container, ContainerSpec
from models.mails import Mail, MailKind
from models.sessions import Session, proxy_path


def spec_of(session: Session) -> ContainerSpec:
    """The container of a session, as it is to be."""
    template = session.template
    base_path = proxy_path(session.id)
    known = {
        "{port}": str(template.port),
        "{token}": session.token,
        "{base_path}": base_path,
    }
    return ContainerSpec(
        session_id=session.id,
        owner_id=session.owner_id,
        image=template.image,
        command=[_filled(each, known) for each in template.command],
        environment={
            "SESSION_TOKEN": session.token,
            "JUPYTER_TOKEN": session.token,
            "SESSION_BASE_PATH": base_path,
        },
        port=template.port,
        published=template.published,
        memory_mb=template.memory_mb,
        cpus=template.cpus,
        pids_max=template.pids_max,
        disk_mb=template.disk_mb,
        gpu_ids=session.gpu_ids,
    )


def _filled(argument: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        argument = argument.replace(name, value)
    return argument


def obituary(container: Container | None) -> str:
    """What a container ended of, in a sentence."""
    if container is None:
        return "Its container is gone: somebody removed it."
    if container.out_of_memory:
        return "It took more memory than its template grants, and was ended."
    return f"Its command ended, with exit code {container.exit_code}."


def warning(session: Session) -> Mail:
    """Says that a session ends; once for each time at which it would."""
    kind = MailKind.SESSION_EXPIRES
    ends = session.expires_at.isoformat(timespec="minutes")
    return Mail(
        key=f"{kind}:{session.id}:{session.expires_at.timestamp():.0f}",
        kind=kind,
        user_id=session.owner_id,
        facts={
            "session_id": session.id,
            "template": session.template.name,
            "expires_at": ends,
        },
    )
