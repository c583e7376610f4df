"""Container configs: what the engine is told to make of a session.

What runs in a session is its member's: it may do anything that a process can.
So its container has no capability, gains none, writes into memory that is
counted and nowhere else, and is alone on its network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Final

from aiodocker.types import JSONObject, JSONValue, MutableJSONObject

from config.docker_answers import Image
from config.engine import ContainerSpec

DEPLOYMENT: Final = "muster.deployment"
SESSION: Final = "muster.session"
OWNER: Final = "muster.owner"
PORT: Final = "muster.port"
# On what tries an engine's limits: whose it is.
FITNESS: Final = "muster.fitness"

# What nodes of a swarm call their GPUs: `--node-generic-resource gpu=…`.
GPU: Final = "gpu"
MIB: Final = 1024 * 1024
_NOBODY: Final = "65534:65534"
_STOP_NANOSECONDS: Final = 1_000_000_000
_HOME: Final = "/home/session"
# What a session says goes to the engine's disk: no more than this much.
_LOG_DRIVER: Final = "json-file"
_LOG_SIZE: Final = {"max-size": "10m", "max-file": "2"}


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


def container_config(
    place: Place, spec: ContainerSpec, *, image: Image, network: str
) -> JSONObject:
    """The container of a session."""
    inside = f"{spec.port}/tcp"
    devices = ",".join(spec.gpu_ids) or "void"
    variables = variables_of(spec, image, devices=devices)
    config: MutableJSONObject = {
        "Image": spec.image,
        "Hostname": "session",
        "User": user_of(image),
        "Env": [f"{name}={value}" for name, value in variables.items()],
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
                for folder in _folders(spec, image)
            },
            "ShmSize": spec.disk_mb * MIB,
            "IpcMode": "private",
            "LogConfig": {"Type": _LOG_DRIVER, "Config": {**_LOG_SIZE}},
            "DeviceRequests": _devices_of(spec),
        },
    }
    if spec.command:
        config["Cmd"] = list(spec.command)
    return config


def service_config(
    spec: ContainerSpec, *, image: Image, labels: Mapping[str, str]
) -> MutableJSONObject:
    """What a swarm is told to make of a session, as often as nodes are lost.

    A swarm counts GPUs and chooses them itself. NVIDIA's runtime reads which
    (`swarm-resource` in its settings), and "void" keeps all others away.
    """
    room: dict[str, JSONValue] = {
        "SizeBytes": spec.disk_mb * MIB,
        "Mode": 0o1777,
    }
    folders = dict.fromkeys(("/dev/shm", *_folders(spec, image)))
    container: dict[str, JSONValue] = {
        "Image": spec.image,
        "Hostname": "session",
        "User": user_of(image),
        # The client takes a mapping here, and writes a list.
        "Env": {**variables_of(spec, image, devices="void")},
        "Labels": dict(labels),
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        # Since Docker 25; before, the nodes' own option says so.
        "Privileges": {"NoNewPrivileges": True},
        "StopGracePeriod": _STOP_NANOSECONDS,
        "Mounts": [
            {"Type": "tmpfs", "Target": folder, "TmpfsOptions": room}
            for folder in folders
        ],
    }
    if spec.command:
        container["Args"] = list(spec.command)
    limits: dict[str, JSONValue] = {
        "MemoryBytes": spec.memory_mb * MIB,
        "NanoCPUs": int(spec.cpus * 1_000_000_000),
        "Pids": spec.pids_max,
    }
    reservations: dict[str, JSONValue] = {
        "MemoryBytes": spec.memory_mb * MIB,
        "GenericResources": _counted(spec),
    }
    return {
        "ContainerSpec": container,
        "Resources": {"Limits": limits, "Reservations": reservations},
        # What ends well has ended; what fails is tried again, elsewhere too.
        "RestartPolicy": {
            "Condition": "on-failure",
            "Delay": 1_000_000_000,
            "MaxAttempts": 5,
            "Window": 600_000_000_000,
        },
        "LogDriver": {"Name": _LOG_DRIVER, "Options": {**_LOG_SIZE}},
    }


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


def _folders(spec: ContainerSpec, image: Image) -> list[str]:
    """What it may write to.

    For what an image calls a volume, an engine would give it a folder of its
    own disk, of any size, unless something else is mounted there.
    """
    volumes = (image.config.volumes if image.config else None) or {}
    named = ("/tmp", home_of(spec, image), *volumes)
    folders = (normpath("/" + folder.strip("/")) for folder in named)
    return list(dict.fromkeys(folders))


def variables_of(
    spec: ContainerSpec, image: Image, *, devices: str
) -> Mapping[str, str]:
    """Its variables.

    Where NVIDIA's is the engine's own runtime, a variable says which GPUs a
    container has: one of the image's own would give it all of them.
    """
    return {
        "HOME": home_of(spec, image),
        **spec.environment,
        "NVIDIA_VISIBLE_DEVICES": devices,
    }


def _variables(image: Image) -> dict[str, str]:
    env = (image.config.env if image.config else None) or []
    pairs = (variable.partition("=") for variable in env)
    return {name: value for name, _, value in pairs}


def _counted(spec: ContainerSpec) -> list[JSONValue]:
    if not spec.gpu_ids:
        return []
    count: dict[str, JSONValue] = {"Kind": GPU, "Value": len(spec.gpu_ids)}
    return [{"DiscreteResourceSpec": count}]


def _devices_of(spec: ContainerSpec) -> list[JSONValue]:
    if not spec.gpu_ids:
        return []
    # No driver by name: the engine takes the one that can give a GPU.
    return [{"DeviceIDs": list(spec.gpu_ids), "Capabilities": [["gpu"]]}]
