"""Engines: the one that the settings name."""

from ipaddress import IPv4Network

from config.container_configs import Place
from config.docker_engine import DockerEngine
from config.engine import Engine
from config.no_engine import NoEngine
from config.settings import SessionEngine, Settings


def engine_of(settings: Settings) -> Engine:
    """What runs sessions; `auto` is Docker, whether it answers yet or not."""
    if settings.session_engine is SessionEngine.OFF:
        return NoEngine()
    return DockerEngine(
        settings.docker_host,
        place=Place(settings.sessions_named, settings.session_address),
        subnets=IPv4Network(settings.session_subnets),
    )
