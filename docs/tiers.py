"""Docs of `routes/tiers.py`."""

from docs import EndpointDoc

CREATE_TIER: EndpointDoc = {
    "summary": "Create a tier",
    "description": """For admins: a group of members who may use the same.

Give it rate limits at `POST /v1/tiers/{name}/rate-limits`, and members at
`PATCH /v1/users/{user_id}`. `task_quotas` say how much of the queue each of
them may use, `session_quotas` how much of the GPUs; what is null or left out is
the service's default.""",
    "response_description": "The new tier.",
}

LIST_TIERS: EndpointDoc = {
    "summary": "List the tiers",
    "description": "All tiers with their rate limits, the oldest first, for "
    "whoever is signed in.",
    "response_description": "A page of tiers.",
}

GET_TIER: EndpointDoc = {
    "summary": "Read a tier",
    "description": "One tier with its rate limits. Which one is yours says "
    "`GET /v1/users/me`.",
}

UPDATE_TIER: EndpointDoc = {
    "summary": "Change a tier",
    "description": """For admins. The name stays: it is what members keep.

Of `task_quotas` and `session_quotas`, too, what is left out stays, and null is
the default again. A change counts for all workers within two seconds; who has
more tasks or sessions than they now may keeps them.""",
}

DELETE_TIER: EndpointDoc = {
    "summary": "Delete a tier",
    "description": "For admins. A tier that has members stays (409).",
}

CREATE_RATE_LIMIT: EndpointDoc = {
    "summary": "Limit how often a tier's members may call a path",
    "description": """For admins. It counts for all workers within two seconds.

A route template, such as `/v1/events/{event_id}`, limits the requests of each
member to that path alone, whatever their method. `*` limits all other
paths together; a tier without it has the service's default there. Requests are
counted in periods that begin together for everybody.""",
    "response_description": "The new rate limit.",
}

LIST_RATE_LIMITS: EndpointDoc = {
    "summary": "List a tier's rate limits",
    "description": "The limits of a tier, the oldest first.",
    "response_description": "A page of rate limits.",
}

GET_RATE_LIMIT: EndpointDoc = {
    "summary": "Read a rate limit",
    "description": "One limit of a tier.",
}

UPDATE_RATE_LIMIT: EndpointDoc = {
    "summary": "Change a rate limit",
    "description": "For admins. It counts for all workers within two seconds, "
    "for the present period too: what was used stays used.",
}

DELETE_RATE_LIMIT: EndpointDoc = {
    "summary": "Remove a rate limit",
    "description": "For admins. The path counts with all others from then on.",
}
