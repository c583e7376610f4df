"""Creates a tier, unless there is one with its name.

python -m scripts.create_first_tier gold
"""

import argparse

from config.lifespan import services
from config.main import settings
from models.exceptions import TierExistsError
from models.tiers import TierCreate
from scripts.common import run
from utils import tiers
from utils.collections import declared_indexes


def main() -> None:
    """The command."""
    run(_create(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.create_first_tier",
        description="Creates a tier, which an admin gives rate limits and "
        "members.",
    )
    parser.add_argument(
        "name", help="lower-case letters, digits and hyphens, such as gold"
    )
    return parser.parse_args()


async def _create(arguments: argparse.Namespace) -> None:
    new = TierCreate(name=arguments.name)
    async with services(settings, declared_indexes()):
        try:
            await tiers.create_tier(new, actor_id=None)
            print(f"muster: created the tier {new.name}")
        except TierExistsError:
            print(f"muster: there is a tier {new.name} already")


if __name__ == "__main__":
    main()
