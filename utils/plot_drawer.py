"""Plot drawer: results as pictures, each drawn by a program of its own.

Owns no collection. May call: plots. Matplotlib would make a web worker 60 MB
larger, a drawing thread would hold the others up, and only a process can be
ended: `utils/plot_program.py` is started for each picture, which takes a second
and is worth keeping.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from config.main import settings
from utils import plots

_PROGRAM: Final = "utils.plot_program"
_ROOT: Final = Path(__file__).parents[1]
# It ends by itself after 20 s of processor time: this is for a busy machine.
_PATIENCE_SECONDS: Final = 60
# Of each worker: a drawing takes 150 MB.
_DRAWINGS: Final = asyncio.Semaphore(1)


async def draw_result(
    name: str, *, result: AsyncIterator[bytes], title: str
) -> bytes:
    """The PNG of a kept result.

    Args:
        name: the process that the result is of.
        result: the payload, in pieces.
        title: what stands above a result that does not draw itself.

    Raises:
        plots.NoPlotError: there is nothing in it to be drawn, or too much.
    """
    async with _DRAWINGS:
        with TemporaryFile() as file:
            async for piece in result:
                await asyncio.to_thread(file.write, piece)
            file.flush()
            file.seek(0)
            return await _drawn(name, title, file)


async def _drawn(name: str, title: str, file: IO[bytes]) -> bytes:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", _PROGRAM, name, title),
        stdin=file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_environment()},
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            picture, said = await program.communicate()
    except TimeoutError:
        raise plots.NoPlotError("it takes too long to draw") from None
    finally:
        # Whoever waited is gone, or the time is up.
        with suppress(ProcessLookupError):
            if program.returncode is None:
                program.kill()
    if program.returncode == 0:
        return picture
    if program.returncode == plots.NOTHING_TO_DRAW:
        raise plots.NoPlotError(said.decode().strip())
    if program.returncode is not None and program.returncode < 0:
        # The system ended it at its limits.
        raise plots.NoPlotError("it is too large to draw")
    raise RuntimeError(said[-2000:].decode(errors="replace"))


def _environment() -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, sys.path)]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        # It keeps the list of the machine's fonts, which it makes in seconds.
        "MPLCONFIGDIR": str(settings.data_dir.absolute() / "matplotlib"),
        "MPLBACKEND": "agg",
        # Each thread of NumPy's would take memory; none has work here.
        "OPENBLAS_NUM_THREADS": "1",
    }
