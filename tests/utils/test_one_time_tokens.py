"""One-time tokens, without the transactions of those who redeem them."""

import asyncio

import pytest

from models.base import new_id, utc_now
from models.exceptions import InvalidTokenError
from models.one_time_tokens import OneTimeToken, Purpose
from utils import one_time_tokens

pytestmark = pytest.mark.usefixtures("database")

RESET = Purpose.PASSWORD_RESET


async def _issue(mail_id: str, purpose: Purpose = RESET) -> str:
    return await one_time_tokens.issue(
        mail_id,
        purpose=purpose,
        user_id="u",
        email="ada@example.org",
        now=utc_now(),
    )


async def test_one_of_racing_redeemers() -> None:
    token = await _issue(new_id())
    redeemed = await asyncio.gather(
        *(one_time_tokens.redeem(token, purpose=RESET) for _ in range(20)),
        return_exceptions=True,
    )
    kinds = [type(result) for result in redeemed]
    assert kinds.count(OneTimeToken) == 1
    assert kinds.count(InvalidTokenError) == 19


async def test_same_mail_same_token() -> None:
    mail_id = new_id()
    first, second = await _issue(mail_id), await _issue(mail_id)
    assert first == second
    assert await _issue(new_id()) != first
    await one_time_tokens.redeem(first, purpose=RESET)
    with pytest.raises(InvalidTokenError):
        await one_time_tokens.get_token(first, purpose=RESET)


async def test_revoke_one_kind() -> None:
    reset = await _issue(new_id())
    verify = await _issue(new_id(), Purpose.EMAIL_VERIFICATION)
    await one_time_tokens.revoke_tokens_of("u", purpose=RESET)
    with pytest.raises(InvalidTokenError):
        await one_time_tokens.redeem(reset, purpose=RESET)
    await one_time_tokens.redeem(verify, purpose=Purpose.EMAIL_VERIFICATION)
