"""Container configs: what the engine is told to make of a session.

What runs in a session is its member's: it may do anything that a process can.
So its container has no capability, gains none, writes into memory that is
counted and nowhere else, and is alone on its network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiodocker.types import JSONObject, JSONValue, MutableJSONObject

from config.docker_answers import Image
from config.engine import ContainerSpec

DEPLOYMENT: Final = "muster.deployment"
SESSION: Final = "muster.session"
OWNER: Final = "muster.owner"
PORT: Final = "muster.port"

MIB: Final = 1024 * 1024
_NOBODY: Final = "65534:65534"
_HOME: Final = "/home/session"
# What a session says goes to the engine's disk: no more than this much.
_LOG: Final[JSONObject] = {
    "Type": "json-file",
    "Config": {"max-size": "10m", "max-file": "2"},
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where sessions run.

    Attributes:
        deployment: the Muster that they belong to.
        address: where their ports are published.
    """

    deployment: str
    address: str

    def name(self, session_id: str) -> str:
        """What a session's container and network are called."""
        return f"{self.deployment}-session-{session_id}"

    def labels(self, spec: ContainerSpec) -> Mapping[str, str]:
        """What a session's container is marked with."""
        return {
            DEPLOYMENT: self.deployment,
            SESSION: spec.session_id,
            OWNER: spec.owner_id,
            PORT: str(spec.port),
        }

    def owns(self, labels: Mapping[str, str], session_id: str) -> bool:
        """Whether labels say that something is this session's."""
        return (
            labels.get(DEPLOYMENT) == self.deployment
            and labels.get(SESSION) == session_id
        )

    def filters(self, session_id: str | None = None) -> dict[str, list[str]]:
        """Finds what is this deployment's, or one session's of it."""
        marks = [f"{DEPLOYMENT}={self.deployment}"]
        if session_id is None:
            return {"label": [*marks, SESSION]}
        return {"label": [*marks, f"{SESSION}={session_id}"]}


def network_config(
    place: Place, spec: ContainerSpec, subnet: str
) -> JSONObject:
    """A network of the session's own, in which even two could not talk."""
    return {
        "Name": place.name(spec.session_id),
        "Driver": "bridge",
        "Labels": dict(place.labels(spec)),
        "IPAM": {"Config": [{"Subnet": subnet}]},
        "Options": {"com.docker.network.bridge.enable_icc": "false"},
    }


def container_config(
    place: Place, spec: ContainerSpec, *, image: Image, network: str
) -> JSONObject:
    """The container of a session."""
    inside = f"{spec.port}/tcp"
    config: MutableJSONObject = {
        "Image": spec.image,
        "Hostname": "session",
        "User": user_of(image),
        "Env": [*environment_of(spec, image)],
        "Labels": dict(place.labels(spec)),
        "ExposedPorts": {inside: {}},
        "HostConfig": {
            **limits_of(spec),
            "NetworkMode": network,
            "PortBindings": (
                {inside: [{"HostIp": place.address, "HostPort": ""}]}
                if spec.published
                else {}
            ),
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Tmpfs": {
                folder: f"rw,exec,nosuid,nodev,mode=1777,size={spec.disk_mb}m"
                for folder in ("/tmp", home_of(spec, image))
            },
            "ShmSize": spec.disk_mb * MIB,
            "IpcMode": "private",
            "LogConfig": _LOG,
            "DeviceRequests": _devices_of(spec),
        },
    }
    if spec.command:
        config["Cmd"] = list(spec.command)
    return config


def limits_of(spec: ContainerSpec) -> Mapping[str, int]:
    """What a session may take; the same sum for both allows no swap."""
    return {
        "Memory": spec.memory_mb * MIB,
        "MemorySwap": spec.memory_mb * MIB,
        "NanoCpus": int(spec.cpus * 1_000_000_000),
        "PidsLimit": spec.pids_max,
    }


def user_of(image: Image) -> str:
    """Who runs it: whom the image names, but never root."""
    user = image.config.user if image.config else ""
    return _NOBODY if user.partition(":")[0] in ("", "0", "root") else user


def home_of(spec: ContainerSpec, image: Image) -> str:
    """The folder of whoever runs it."""
    named = _variables(image) | dict(spec.environment)
    home = named.get("HOME", _HOME)
    return home if home.startswith("/") and home.strip("/") else _HOME


def environment_of(spec: ContainerSpec, image: Image) -> list[str]:
    """Its variables.

    Where NVIDIA's is the engine's own runtime, a variable says which GPUs a
    container has: one of the image's own would give it all of them.
    """
    devices = ",".join(spec.gpu_ids) or "void"
    variables = {
        "HOME": home_of(spec, image),
        **spec.environment,
        "NVIDIA_VISIBLE_DEVICES": devices,
    }
    return [f"{name}={value}" for name, value in variables.items()]


def _variables(image: Image) -> dict[str, str]:
    env = (image.config.env if image.config else None) or []
    pairs = (variable.partition("=") for variable in env)
    return {name: value for name, _, value in pairs}


def _devices_of(spec: ContainerSpec) -> list[JSONValue]:
    if not spec.gpu_ids:
        return []
    # No driver by name: the engine takes the one that can give a GPU.
    return [{"DeviceIDs": list(spec.gpu_ids), "Capabilities": [["gpu"]]}]
