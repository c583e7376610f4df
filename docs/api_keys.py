"""Docs of `routes/api_keys.py`."""

from docs import EndpointDoc

CREATE_API_KEY: EndpointDoc = {
    "summary": "Make an API key",
    "description": """Makes a key for a program that acts in your name.

Send it with each request as `X-API-Key: mk_…`, or in a cookie of that name; a
cookie counts for nothing in a change that another site's page makes. **It is
shown this once**: only its hash is kept.

`scopes` say what the key may do of what you may: `events:read` is to read what
lies under `/v1/events`, `events:write` all other methods there. What only an
admin may needs `admin:read` or `admin:write` as well. Without `scopes` it may
do all that you may, except what needs a log-in: no key makes keys, or touches
logins. A key acts in your present role, is refused while your account is
disabled, and outlives your password. You may have 50.""",
    "response_description": "The key, and what there is to know about it.",
}

LIST_API_KEYS: EndpointDoc = {
    "summary": "List your API keys",
    "description": "The caller's keys, the oldest first, without what makes "
    "them work. A key that expired is listed for another day.",
}

REVOKE_API_KEY: EndpointDoc = {
    "summary": "Revoke an API key",
    "description": "Ends one of the caller's keys. It is refused from then "
    "on, by every worker.",
}
