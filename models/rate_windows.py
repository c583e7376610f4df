"""Rate windows: the requests of a caller in a span of time."""

from models.base import ExtendedBaseModel, UtcTime


class RateWindow(ExtendedBaseModel):
    """A window, as stored; its id names the limit, the caller and the time.

    Attributes:
        granted: how many requests processes may admit, all together.
        lanes: what each process was granted last.
        expires_at: when it is forgotten.
    """

    granted: int
    lanes: dict[str, dict[str, str | int]]
    expires_at: UtcTime
