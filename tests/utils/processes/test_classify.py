"""What the models take real digits and real files for."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from sklearn.model_selection import train_test_split

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import Array
from utils import classifiers
from utils.model_cache import models
from utils.processes.classify import Classifier, classify


@pytest.fixture(name="fresh", autouse=True, scope="module")
def _fresh() -> Iterator[None]:
    yield
    for name in ("digits", "file_type"):
        models.forget(name)


class TestDigits:
    def test_those_that_it_did_not_learn_from(self) -> None:
        digits = load_digits()
        _, unseen, _, meant = train_test_split(
            digits.images,
            digits.target,
            test_size=0.25,
            random_state=0,
            stratify=digits.target,
        )
        found = classify(unseen)
        right = np.array(found.labels, int) == meant
        assert right.mean() == classifiers.digits().accuracy > 0.97
        assert f"{right.mean():.1%} of {len(unseen)}" in found.about

    def test_it_knows_how_sure_it_is(self) -> None:
        found = classify(load_digits().images)
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
        wrong = np.array(found.labels, int) != load_digits().target
        assert found.scores[wrong].mean() < found.scores[~wrong].mean() - 0.2

    @pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 64)])
    def test_one_picture(self, shape: tuple[int, ...]) -> None:
        found = classify(load_digits().images[7].reshape(shape))
        assert found.labels == ["7"]

    def test_it_is_loaded_once(self) -> None:
        models.forget("digits")
        before = models.statistics().loads
        for picture in load_digits().images[:3]:
            classify(picture)
        assert models.statistics().loads == before + 1

    @pytest.mark.parametrize(
        "array, said",
        [
            (np.ones((28, 28)), "pictures of 8 × 8"),
            (np.ones(64), "pictures of 8 × 8"),
            (np.full((8, 8), 255), "go from 255 to 255"),
            (np.full((8, 8), -1), "go from -1 to -1"),
            (np.ones((0, 8, 8)), "is empty"),
            (np.full((8, 8), np.nan), "NaN or infinite"),
        ],
    )
    def test_refused(self, array: Array, said: str) -> None:
        with pytest.raises(ProcessInputError, match=said):
            classify(array)


def _picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(load_sample_image("flower.jpg")).save(file, form)
    return file.getvalue()


class TestFileTypes:
    @pytest.mark.parametrize(
        "data, label",
        [
            (Path(__file__).read_bytes(), "python"),
            (_picture("PNG"), "png"),
            (_picture("JPEG"), "jpeg"),
            (Path(sys.executable).resolve().read_bytes()[:200_000], "elf"),
            (b'{"name": "Ada", "tags": [1, 2, 3], "ok": true}' * 9, "json"),
        ],
        ids=["python", "png", "jpeg", "elf", "json"],
    )
    def test_real_files(self, data: bytes, label: str) -> None:
        found = classify(
            np.frombuffer(data, np.uint8), model=Classifier.FILE_TYPE
        )
        assert found.labels == [label]
        assert found.scores[0] > 0.5

    def test_lists_of_whole_numbers(self) -> None:
        data = np.array(list(_picture("PNG")), np.int64)
        found = classify(data, model=Classifier.FILE_TYPE)
        assert found.about == "PNG image, image/png"

    @pytest.mark.parametrize(
        "array, said",
        [
            (np.ones((2, 2), np.uint8), "2 dimensions"),
            (np.array([256]), "no bytes"),
            (np.array([0.5]), "no bytes"),
        ],
    )
    def test_refused(self, array: Array, said: str) -> None:
        with pytest.raises(ProcessInputError, match=said):
            classify(array, model=Classifier.FILE_TYPE)
