"""Docs of `routes/auth.py`."""

from docs import EndpointDoc

LOG_IN: EndpointDoc = {
    "summary": "Log in",
    "description": """Signs a member in on this device.

The body is the OAuth2 password form, with the e-mail as `username`. Send the
`access_token` with each request as `Authorization: Bearer …`; when it has
expired, exchange the `refresh_token` at `POST /v1/auth/refresh`.

An unknown e-mail and a wrong password answer alike. After a few failures the
answers slow down; after ten attempts from one address within a quarter of an
hour that did not succeed, those under way included, they are refused with
429.""",
    "response_description": "The tokens of the new login.",
}

REFRESH: EndpointDoc = {
    "summary": "Refresh the tokens",
    "description": """Exchanges a refresh token for a new pair of tokens.

The old refresh token is dead from then on. Whoever sends a dead one may have
stolen it: the answer is 401, and **the whole login ends**. Of two simultaneous
calls with one token, one gets the new pair.

**When an answer gets lost:** send a random `Idempotency-Key` with each
refresh, and repeat a call that failed on the way with the *same* token and the
*same* key. As long as the login has not been refreshed again, the repetition
answers the same new refresh token. Without the key, log in again.""",
    "response_description": "The new pair.",
}

LOG_OUT: EndpointDoc = {
    "summary": "Log out",
    "description": "Ends the login that the access token belongs to. Its "
    "tokens are refused from then on, by every worker.",
}

LOG_OUT_ALL: EndpointDoc = {
    "summary": "Log out everywhere",
    "description": "Ends all logins of the caller, this one included.",
}

VALIDATE: EndpointDoc = {
    "summary": "Check the access token",
    "description": "Answers 204 while the access token is accepted.",
}

LIST_LOGINS: EndpointDoc = {
    "summary": "List the signed-in devices",
    "description": "The caller's living logins, the one used last first; "
    "`current` marks the one that asks.",
}

REVOKE_LOGIN: EndpointDoc = {
    "summary": "Log a device out",
    "description": "Ends one of the caller's logins, as `GET /v1/auth/logins` "
    "lists them.",
}
