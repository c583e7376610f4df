"""Tickets: what is signed is read, and nothing else."""

import io
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import new_id
from models.exceptions import ForgedTicketError
from utils import tickets
from utils.tickets import Seat

_IDS = st.uuids(version=4).map(str)


class TestSign:
    @given(_IDS, _IDS)
    def test_is_read_again(self, event_id: str, rsvp_id: str) -> None:
        seat = Seat(event_id, rsvp_id)
        ticket = tickets.sign(seat)
        assert tickets.read(ticket) == seat
        assert len(ticket) == 77
        assert ticket.isalnum() and ticket.isupper()

    def test_as_people_type_it(self) -> None:
        seat = Seat(new_id(), new_id())
        ticket = tickets.sign(seat).lower()
        assert tickets.read(f" {ticket[:20]} {ticket[20:]}\n") == seat


class TestRead:
    @given(st.text(max_size=200))
    def test_anything_else_is_forged(self, text: str) -> None:
        with pytest.raises(ForgedTicketError):
            tickets.read(text)

    def test_every_changed_bit_is_noticed(self) -> None:
        ticket = tickets.sign(Seat(new_id(), new_id()))
        # The last character holds one bit of the ticket, and four of nothing.
        for at, letter in enumerate(ticket[:-1]):
            other = "A" if letter != "A" else "B"
            with pytest.raises(ForgedTicketError):
                tickets.read(f"{ticket[:at]}{other}{ticket[at + 1 :]}")

    def test_another_seat_with_this_signature(self) -> None:
        one, other = (tickets.sign(Seat(new_id(), new_id())) for _ in "ab")
        with pytest.raises(ForgedTicketError):
            tickets.read(one[:51] + other[51:])

    def test_ids_are_canonical(self) -> None:
        seat = tickets.read(tickets.sign(Seat(new_id(), new_id())))
        assert seat.event_id == str(UUID(seat.event_id))


class TestDraw:
    def test_svg(self) -> None:
        svg = tickets.draw_svg(tickets.sign(Seat(new_id(), new_id())))
        assert svg.lstrip().startswith(b"<?xml") and b"<svg" in svg

    def test_png_says_the_ticket(self) -> None:
        png = tickets.draw_png("A" * 77)
        assert png.startswith(b"\x89PNG")
        assert io.BytesIO(png).getbuffer().nbytes < 5_000
