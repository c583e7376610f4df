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

SIGN_IN_BY_FIREBASE: EndpointDoc = {
    "summary": "Sign in by Firebase",
    "description": """Exchanges an ID token of Firebase for tokens of a login.

Where `FIREBASE_PROJECT_ID` is unset, the answer is 404. **At the first time**
it creates a member, with the names and e-mail of the token; change them at
`PATCH /v1/users/me`. If the e-mail has an account already, the sign-in becomes
one more way into it, provided that the e-mail is verified **both** here and at
Firebase: else the answer is 409, as the account might be somebody else's, and
`detail` says what to do.

A member who came so has no password until they reset it. A reset ends this
way in, until they sign in so again with a verified e-mail.""",
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

REQUEST_EMAIL_VERIFICATION: EndpointDoc = {
    "summary": "Ask for a verification mail",
    "description": """Sends a mail with a token to the caller's e-mail.

Registering sends one by itself, and so does a new e-mail. Nothing is sent when
the e-mail is verified already, nor a second time within five minutes.""",
    "response_description": "The mail will be sent.",
}

VERIFY_EMAIL: EndpointDoc = {
    "summary": "Verify an e-mail",
    "description": """Redeems the token of a verification mail.

It works once, within 48 hours, and only as long as the account has the e-mail
that it was sent to. Nobody needs to be logged in.""",
}

REQUEST_PASSWORD_RESET: EndpointDoc = {
    "summary": "Ask for a password reset mail",
    "description": """Sends a mail with a token, if the e-mail has an account.

**The answer is always the same**, and takes as long: it tells nobody who is
registered. An e-mail gets one such mail within five minutes, however often it
is asked for.""",
    "response_description": "If there is such an account, a mail will be sent.",
}

RESET_PASSWORD: EndpointDoc = {
    "summary": "Choose a new password",
    "description": """Redeems the token of a reset mail, and sets the password.

It works once, within an hour, and no more once the password or e-mail has
changed. **All logins end**: log in with the new password. A password that is
refused leaves the token good. The e-mail counts as verified from then on.""",
}
