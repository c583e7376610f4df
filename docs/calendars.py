"""Docs of `routes/calendars.py`."""

from docs import EndpointDoc

LIST_EVENTS_CALENDAR: EndpointDoc = {
    "summary": "Subscribe to events",
    "description": """What `GET /v1/events` lists, as a calendar (RFC 5545).

It takes the same conditions, and holds the first 1000 events. Give its address
to a calendar program; most ask again every hour. Each event keeps its `UID`;
`SEQUENCE` grows when its time or place changes, or when it is cancelled.""",
    "response_description": "A calendar.",
}

GET_EVENT_CALENDAR: EndpointDoc = {
    "summary": "Put an event into a calendar",
    "description": "One event as a calendar file, for whoever may read the "
    "event itself. A cancelled one says so by its `STATUS`.",
    "response_description": "A calendar with one event.",
}

IMPORT_EVENTS: EndpointDoc = {
    "summary": "Import a calendar file",
    "description": """Takes over the events of an `.ics` file.

They are the caller's own, private until edited, with 100 seats each. The same
file twice makes nothing twice: an event that the file has changed is
`updated`, all others are `unchanged` and keep what you made of them. One that
the file says is cancelled is cancelled here, too; one that is cancelled or
over here stays so, and is a problem.

**Times:** zones by name (IANA's or Windows') or as the file describes them;
times without a zone are in its `X-WR-TIMEZONE`, or UTC. A whole day lasts from
midnight to midnight there; without an end, a time lasts an hour. A recurring
event becomes its dates of the coming 366 days, 100 at the most.

**Texts** are read as UTF-8, or else as Windows-1252. Too long ones are cut;
an event without a `SUMMARY` is *Untitled*. A `LOCATION` without `GEO` stands
at the head of the description, or is the `online_url` if it is a link.
`CATEGORIES` that are tags here become tags.

What can't be read is listed under `problems`, and all else imported: a
thousand dates at the most, those first that are next.""",
    "response_description": "What became of the file's events.",
}

GET_OWN_CALENDAR: EndpointDoc = {
    "summary": "Subscribe to your own events",
    "description": """What the member goes to, waits for, or created, from
ninety days ago on, as a calendar.

Calendar programs can't log in: the `token` of `POST /v1/users/me/calendar`
says whose calendar it is. Events that wait for something, a seat or an admin,
are `TENTATIVE`.""",
    "response_description": "A calendar.",
}

OPEN_OWN_CALENDAR: EndpointDoc = {
    "summary": "Open your own calendar",
    "description": "A secret address for your calendar program, shown this "
    "once. Whoever has it can read your calendar; the address before it is "
    "invalid from now on.",
    "response_description": "The address.",
}

REVOKE_OWN_CALENDAR: EndpointDoc = {
    "summary": "Close your own calendar",
    "description": "Makes its address invalid, whoever has it.",
}
