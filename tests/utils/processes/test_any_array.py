"""Whatever array comes: a result that can be kept, or a sentence."""

import warnings
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import REAL_DTYPES, Array, arrays
from utils import plots, process_registry

_ANY = arrays(
    *REAL_DTYPES,
    "complex64",
    "complex128",
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    finite=False,
    magnitude=1.7e308,
)
# What has no default, and what makes a process take its other way.
_OPTIONS: Final[dict[str, list[dict[str, Any]]]] = {
    "resample": [{"samples": 3}, {"samples": 3, "method": "linear"}],
    "filter_array": [{}, {"kind": "median", "size": 4}],
    "np_array": [{"operation": "normalize"}, {"operation": "standardize"}],
    "classify": [{}, {"model": "file_type"}],
    "cluster": [{"clusters": 2}],
    "pca": [{"components": 1}, {"components": 1, "scale": True}],
}


class TestAnyArray:
    @pytest.mark.parametrize(
        "name, options",
        [
            (process.name, options)
            for process in process_registry.list_processes()
            for options in _OPTIONS.get(process.name, [{}])
        ],
    )
    @given(_ANY)
    def test_a_result_or_a_sentence(
        self, name: str, options: dict[str, Any], array: Array
    ) -> None:
        process = process_registry.get_process(name)
        assert process is not None
        arguments = process.parameters.model_validate(
            {"array": array, **options}
        )
        array.flags.writeable = False
        with warnings.catch_warnings(), suppress(ProcessInputError):
            # Numbers near the end of float64 overflow, with a warning.
            warnings.simplefilter("ignore", RuntimeWarning)
            kept = process.dump_result(process.call(arguments))
            result = process.load_result(kept)
            assert isinstance(result, plots.Drawn)
            assert process.result_json(kept)

    def test_what_fits_is_computed(self) -> None:
        """The test above would be content with a sentence each time."""
        for process in process_registry.list_processes():
            table = np.arange(64.0).reshape(8, 8) % 7
            options = _OPTIONS.get(process.name, [{}])[0]
            arguments = process.parameters.model_validate(
                {"array": table, **options}
            )
            assert process.dump_result(process.call(arguments)).text
