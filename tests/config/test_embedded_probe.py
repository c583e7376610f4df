"""The keeper's look at its server: who is only slow, or strict, is well."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ExecutionTimeout

from config import embedded_keeper
from config.embedded import Address, EmbeddedDatabase, Folder
from config.embedded_keeper import Probe

CLOSE_SECONDS = 20
MAX_TIME_EXPIRED = 50
PID, NEXT_PID = 1, 2


@pytest.fixture(name="address")
def _address(tmp_path: Path) -> Iterator[Address]:
    database = EmbeddedDatabase(tmp_path / "data")
    database.join()
    address = Address.load(Folder(tmp_path / "data").address)
    assert address is not None
    yield address
    database.leave()
    assert database.wait_until_closed(CLOSE_SECONDS)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Where another keeper, which looks all the time, finds the address."""
    monkeypatch.setattr(embedded_keeper, "_PROBE_SECONDS", 0.0)
    monkeypatch.setattr(embedded_keeper, "_FIRST_PROBES_SECONDS", 0.0)
    folder = Folder(tmp_path)
    folder.path.mkdir()
    return folder


def test_who_is_too_slow_is_not_broken(
    address: Address, folder: Folder
) -> None:
    address.save(folder.address)
    probe = Probe(folder)
    assert not probe.finds_it_broken(PID)
    with MongoClient[dict[str, Any]](address.uri) as client:
        client.admin.command(
            "configureFailPoint",
            "failCommand",
            mode="alwaysOn",
            data={
                "failCommands": ["usersInfo"],
                "errorCode": MAX_TIME_EXPIRED,
            },
        )
        with pytest.raises(ExecutionTimeout):
            client.admin.command("usersInfo")
    assert not probe.finds_it_broken(PID)


def test_who_refuses_is_broken_if_it_let_us_in(
    address: Address, folder: Folder
) -> None:
    """A wrong password is refused in the words of one that lost its storage."""
    wrong = dataclasses.replace(address, password="wrong")
    probe = Probe(folder)
    wrong.save(folder.address)
    assert not probe.finds_it_broken(PID)
    address.save(folder.address)
    assert not probe.finds_it_broken(PID)
    wrong.save(folder.address)
    assert probe.finds_it_broken(PID)
    assert not probe.finds_it_broken(NEXT_PID)
