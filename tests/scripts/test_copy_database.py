"""Moving, backing up and restoring a community, as an operator does it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.scripts.commands import assert_one_line, fresh_database, run
from utils.collections import declared_indexes

Store = Database[dict[str, Any]]
URI = os.environ["MUSTER_TEST_DB_URI"]
_MANY = 4000


@pytest.fixture(name="target")
def fixture_target() -> Iterator[Store]:
    with fresh_database() as target:
        yield target


class TestCopyDatabase:
    def test_killed_and_again_and_tampered_with(self, target: Store) -> None:
        with fresh_database() as source:
            source["a_few"].insert_one({"_id": 1})
            source["many"].insert_many(
                {"_id": n, "text": "x" * 1000} for n in range(_MANY)
            )
            place = ("--to", URI, "--to-name", target.name)
            with subprocess.Popen(
                [sys.executable, "-m", "scripts.copy_database", *place],
                env=os.environ
                | {"MONGO_DB_URI": URI, "MONGO_DB_NAME": source.name},
                stdout=subprocess.PIPE,
            ) as child:
                assert child.stdout is not None
                assert child.stdout.readline().startswith(b"muster: a_few: 1")
                child.kill()
            # Not all of it, and it says that it is not whole.
            assert target["many"].count_documents({}) < _MANY
            marker = target["muster_copy"].find_one()
            assert marker is not None and marker["digests"] is None

            again = run("copy_database", *place, database=source.name)
            assert again.returncode == 0, again.stderr
            assert f"muster: many: {_MANY} documents" in again.stdout
            assert "JWT_SECRET_KEY" in again.stderr
            password = URI.partition("://")[2].partition("@")[0].split(":")[-1]
            assert password not in again.stdout + again.stderr

            target["many"].update_one({"_id": 7}, {"$set": {"text": "y"}})
            compared = run(
                "copy_database", *place, "--verify", database=source.name
            )
            assert_one_line(compared, "these differ: many")

    def test_out_of_the_embedded_database(
        self, target: Store, tmp_path: Path
    ) -> None:
        """Into another server, where the service finds what it declares."""
        home = {"MONGO_DB_URI": "", "DATA_DIR": str(tmp_path)}
        run(
            "create_first_tier", "gold", database="muster", settings=home
        ).check_returncode()
        copied = run(
            "copy_database",
            *("--to", "-", "--to-name", target.name),
            database="muster",
            stdin=f"{URI}\n",
            settings=home,
        )
        assert copied.returncode == 0, copied.stderr
        (tier,) = target["tiers"].find()
        assert tier["name"] == "gold"
        for name, models in declared_indexes().items():
            found = set(target[name].index_information())
            wanted = {model.document["name"] for model in models}
            # One without documents and indexes is nothing to copy.
            assert found - {"_id_"} == wanted, name

    def test_the_source_itself(self, target: Store) -> None:
        result = run(
            "copy_database",
            *("--to", URI, "--to-name", target.name),
            database=target.name,
        )
        assert_one_line(result, "is the source itself")


class TestBackup:
    def test_there_and_back(self, target: Store, tmp_path: Path) -> None:
        file = str(tmp_path / "muster.gz")
        with fresh_database() as source:
            source["people"].insert_one({"_id": "ada"})
            source["people"].create_index("mail", unique=True)
            written = run("backup", file, database=source.name)
            assert written.returncode == 0, written.stderr
        restored = run("restore", file, database=target.name)
        assert restored.returncode == 0, restored.stderr
        line = "muster: people: 1 documents, 1 indexes"
        assert line in written.stdout and line in restored.stdout
        assert list(target["people"].find()) == [{"_id": "ada"}]
        assert target["people"].index_information()["mail_1"]["unique"]
        again = run("restore", file, database=target.name)
        assert_one_line(again, "is not empty")
