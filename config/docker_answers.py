"""Docker answers: what an engine says, as far as sessions need it."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal


class Answer(BaseModel):
    """A part of what an engine says."""

    model_config = ConfigDict(alias_generator=to_pascal)


class State(Answer):
    """What a container does."""

    status: str
    exit_code: int
    out_of_memory: bool = Field(alias="OOMKilled")


class Limits(Answer):
    """What a container may take, as the engine remembers it."""

    memory: int = 0
    memory_swap: int = 0
    nano_cpus: int = 0
    pids_limit: int | None = None


class Labelled(Answer):
    """What a container was made with."""

    labels: dict[str, str] | None = None


class Binding(Answer):
    """Where a port is published."""

    host_port: str


class Endpoint(Answer):
    """A container on a network."""

    ip_address: str = Field(alias="IPAddress")


class Addresses(Answer):
    """Where a container is reached."""

    ports: dict[str, list[Binding] | None] = {}
    networks: dict[str, Endpoint] = {}


class Inspected(Answer):
    """A container as an engine describes it."""

    id: str
    state: State
    config: Labelled
    host_config: Limits
    network_settings: Addresses

    @property
    def labels(self) -> Mapping[str, str]:
        """What it was marked with."""
        return self.config.labels or {}


class ImageConfig(Answer):
    """What an image says of its containers."""

    user: str = ""
    env: list[str] | None = None
    volumes: dict[str, object] | None = None


class Image(Answer):
    """An image as an engine describes it."""

    config: ImageConfig | None = None


class Info(Answer):
    """An engine as it describes itself."""

    memory_limit: bool = False
    swap_limit: bool = False
    cpu_cfs_quota: bool = False
    pids_limit: bool = False
    cgroup_driver: str = ""


class Network(Answer):
    """A network as an engine lists it."""

    created: datetime
    labels: dict[str, str] | None = None


class _Processors(BaseModel):
    total_usage: int = 0


class _CpuStats(BaseModel):
    cpu_usage: _Processors = _Processors()


class _MemoryStats(BaseModel):
    usage: int = 0
    limit: int = 0
    stats: dict[str, int] = {}


class _PidsStats(BaseModel):
    current: int = 0
    limit: int = 0


class _Traffic(BaseModel):
    rx_bytes: int = 0
    tx_bytes: int = 0


class Sample(BaseModel):
    """What a container uses, as the kernel counts it."""

    read: datetime
    cpu_stats: _CpuStats
    memory_stats: _MemoryStats
    pids_stats: _PidsStats
    networks: dict[str, _Traffic] = {}

    @property
    def cpu_seconds(self) -> float:
        """What its processors have worked."""
        return self.cpu_stats.cpu_usage.total_usage / 1e9

    @property
    def memory_bytes(self) -> int:
        """Its memory without the files that are only cached."""
        stats = self.memory_stats.stats
        cached = stats.get("total_inactive_file", stats.get("inactive_file", 0))
        return max(0, self.memory_stats.usage - cached)


class SwarmInfo(Answer):
    """What an engine is in its swarm."""

    node_id: str = Field("", alias="NodeID")
    control_available: bool = False


class SwarmMember(Answer):
    """An engine that may belong to a swarm."""

    swarm: SwarmInfo = SwarmInfo()


class _Named(Answer):
    kind: str
    value: str


class _Resource(Answer):
    """One of several kinds; what has no name can't be told apart."""

    named_resource_spec: _Named | None = None


class _Resources(Answer):
    generic_resources: list[_Resource] | None = None


class _Description(Answer):
    hostname: str = ""
    resources: _Resources = _Resources()


class _NodeStatus(Answer):
    state: str
    addr: str = ""


class _NodeSpec(Answer):
    availability: str


class _ManagerStatus(Answer):
    addr: str = ""


class Node(Answer):
    """A machine of a swarm."""

    id: str = Field(alias="ID")
    spec: _NodeSpec
    description: _Description
    status: _NodeStatus
    manager_status: _ManagerStatus | None = None

    @property
    def ready(self) -> bool:
        """Whether it answers its manager."""
        return self.status.state == "ready"

    @property
    def address(self) -> str:
        """Where it is reached; a manager may call itself 0.0.0.0."""
        if self.manager_status and self.manager_status.addr:
            return self.manager_status.addr.rpartition(":")[0].strip("[]")
        return self.status.addr

    def named(self, kind: str) -> list[str]:
        """Its devices of a kind that have names."""
        return _names(self.description.resources.generic_resources, kind)


class _ContainerStatus(Answer):
    container_id: str = Field("", alias="ContainerID")
    exit_code: int = 0


class _Published(Answer):
    target_port: int
    published_port: int


class _PortStatus(Answer):
    ports: list[_Published] = []


class _TaskStatus(Answer):
    state: str
    message: str = ""
    err: str = ""
    container_status: _ContainerStatus = _ContainerStatus()
    port_status: _PortStatus = _PortStatus()


class Task(Answer):
    """One try of a swarm to run a service."""

    id: str = Field(alias="ID")
    service_id: str = Field(alias="ServiceID")
    node_id: str = Field("", alias="NodeID")
    created_at: str
    status: _TaskStatus
    generic_resources: list[_Resource] | None = None

    def named(self, kind: str) -> list[str]:
        """The devices of a kind that the swarm gave it."""
        return _names(self.generic_resources, kind)


class _ServiceSpec(Answer):
    labels: dict[str, str] | None = None


class Service(Answer):
    """What a swarm is to run."""

    id: str = Field(alias="ID")
    spec: _ServiceSpec

    @property
    def labels(self) -> Mapping[str, str]:
        """What it was marked with."""
        return self.spec.labels or {}


def _names(resources: list[_Resource] | None, kind: str) -> list[str]:
    named = [one.named_resource_spec for one in resources or []]
    return [one.value for one in named if one and one.kind.lower() == kind]
