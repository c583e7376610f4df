"""HTTP events: how a tree of calls is drawn."""

from models.http_events import CallSeen
from utils.http_events import draw


def _calls(*parents: int) -> list[CallSeen]:
    return [
        CallSeen(name=f"f{n}", parent=parent, start_ms=0, duration_ms=1.26)
        for n, parent in enumerate(parents)
    ]


class TestDraw:
    def test_nothing(self) -> None:
        assert not draw([])

    def test_a_tree(self) -> None:
        assert draw(_calls(-1, 0, 1, 0, 3, 4, -1, 6)) == [
            "f0  1.3 ms",
            "├─ f1  1.3 ms",
            "│  └─ f2  1.3 ms",
            "└─ f3  1.3 ms",
            "   └─ f4  1.3 ms",
            "      └─ f5  1.3 ms",
            "f6  1.3 ms",
            "└─ f7  1.3 ms",
        ]

    def test_a_deep_one(self) -> None:
        assert len(draw(_calls(*range(-1, 1999)))) == 2000
