"""A soak by hand: `python -m tests.faults.by_hand --minutes 60`.

It prints each fault with how long people waited afterwards, and ends with 1
and a reason when something was not as promised; what the processes said stays
in the folder that it names.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.soak import Soak
from tests.faults.stage import staged


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.by_hand")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--web", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    # Longer than what a task is leased for, and than what its worker waits.
    parser.add_argument("--longest-fault", type=float, default=25)
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="muster-faults-"))
    _say(f"seed {told.seed}, files in {folder}")
    with staged(folder, web=told.web, workers=told.workers) as (stage, wires):
        soak = Soak(
            stage,
            wires,
            folder,
            seed=told.seed,
            fault_seconds=(1, told.longest_fault),
        )
        try:
            soak.run(told.minutes * 60, _say)
        except AssertionError as error:
            _say(f"wrong: {error}")
            return 1
    _say(f"{len(soak.faults)} faults, and all was as promised")
    return 0


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
