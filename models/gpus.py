"""GPUs: the inventory, as stored and as shown."""

from typing import Self

from pydantic import BaseModel, Field

from models.base import ExtendedBaseModel, UtcTime, utc_now

EXAMPLE_ID = "GPU-5c1f0d2e-8f0b-4f6e-9f57-0d8a1f3f7c11"


class Gpu(ExtendedBaseModel):
    """A GPU as stored; its id is the device's own.

    Attributes:
        name: what its maker calls it.
        memory_mb: its memory, MiB.
        healthy: whether sessions may have it: it is there, and no fault shows.
        node: the machine that it is in; empty where there is only one.
        session_id: the session that has it; None while it is free.
        request_id: who waits in line and is offered it; None else.
        seen_at: when the inventory saw it last.
    """

    name: str
    memory_mb: int
    healthy: bool = True
    node: str = ""
    session_id: str | None = None
    request_id: str | None = None
    seen_at: UtcTime = Field(default_factory=utc_now)


class GpuRead(BaseModel):
    """A GPU as shown."""

    id: str = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=["NVIDIA H100 80GB HBM3"])
    memory_mb: int = Field(description="Memory, MiB.", examples=[81559])
    healthy: bool = Field(
        description="False for one that shows a fault, or is gone."
    )
    free: bool = Field(description="Whether a session may have it now.")
    session_id: str | None = Field(
        description="The session that has it: your own, or any for an admin."
    )

    @classmethod
    def of(cls, gpu: Gpu, *, session_id: str | None) -> Self:
        """What `gpu` looks like to whoever may see `session_id`."""
        free = gpu.healthy and gpu.session_id is None is gpu.request_id
        return cls(
            id=gpu.id,
            name=gpu.name,
            memory_mb=gpu.memory_mb,
            healthy=gpu.healthy,
            free=free,
            session_id=session_id,
        )
