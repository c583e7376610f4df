"""Firebase: the project whose ID tokens sign members in."""

from dataclasses import dataclass

from config.remote_keys import RemoteKeys


@dataclass(frozen=True, slots=True)
class Firebase:
    """A project of Firebase.

    Attributes:
        project_id: its id; None where nobody signs in so.
        keys: those that sign its tokens.
    """

    project_id: str | None
    keys: RemoteKeys
