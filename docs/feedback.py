"""Docs of `routes/feedback.py`."""

from docs import EndpointDoc

CREATE_FEEDBACK: EndpointDoc = {
    "summary": "Rate an event",
    "description": """Says what you think of an event that you go to, once.

For members whose RSVP is `going`, from the event's start on. The event's
`rating` counts it at once. To think again, change your feedback.""",
    "response_description": "The new feedback.",
}

LIST_FEEDBACK: EndpointDoc = {
    "summary": "Read what others think of an event",
    "description": "Its feedback, the latest first, for whoever may see the "
    "event.",
    "response_description": "A page of feedback.",
}

GET_FEEDBACK: EndpointDoc = {
    "summary": "Read feedback",
    "description": "One member's feedback, for whoever may see the event. Its "
    "`author` is null after the account was closed.",
}

UPDATE_FEEDBACK: EndpointDoc = {
    "summary": "Change your feedback",
    "description": """Changes what is sent, and leaves the rest.

For its author only: an admin can delete feedback, but puts no words into
mouths. Send the `ETag` of your last read as `If-Match` so as not to overwrite
a change from another device.""",
}

DELETE_FEEDBACK: EndpointDoc = {
    "summary": "Delete feedback",
    "description": "For its author and admins: the event's `rating` does not "
    "count it any more, and its author may rate the event anew.",
}
