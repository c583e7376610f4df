"""Engines: the one that the settings name."""

from ipaddress import IPv4Network

from config.container_configs import Place
from config.docker_engine import DockerEngine
from config.engine import Engine
from config.no_engine import NoEngine
from config.settings import SessionEngine, Settings
from config.swarm_engine import SwarmEngine


def engine_of(settings: Settings) -> Engine:
    """What runs sessions; `auto` is Docker, whether it answers yet or not."""
    if settings.session_engine is SessionEngine.OFF:
        return NoEngine()
    place = Place(settings.sessions_named, settings.session_address)
    if settings.session_engine is SessionEngine.SWARM:
        return SwarmEngine(settings.docker_host, place=place)
    subnets = IPv4Network(settings.session_subnets)
    return DockerEngine(settings.docker_host, place=place, subnets=subnets)
