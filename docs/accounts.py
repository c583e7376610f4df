"""Docs of `routes/accounts.py`."""

from docs import EndpointDoc

CLOSE_ACCOUNT: EndpointDoc = {
    "summary": "Close your account",
    "description": """Ends all your logins, and removes all that is kept about
you. There is no way back; `GET /v1/users/me/export` takes it along before.

You leave every event and waiting list, and those in line move up. Your own
events that are to come are cancelled, or handed over to the member whom
`heir_id` names. Your images, tokens, calendar address and mails are removed;
your ratings stay, without your name.""",
}

EXPORT_ACCOUNT: EndpointDoc = {
    "summary": "Export your data",
    "description": "One JSON document of all that is kept about you: account, "
    "logins, events, RSVPs, feedback, images, mails, and what the audit says "
    "of you. Secrets are kept as hashes, and left out.",
}
