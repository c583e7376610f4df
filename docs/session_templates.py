"""Docs of `routes/session_templates.py`."""

from docs import EndpointDoc

CREATE_TEMPLATE: EndpointDoc = {
    "summary": "Let sessions run something",
    "description": """For admins: an image with its command, port and limits.

Only what a template names may run. All of its limits are enforced: memory
without swap, processors, processes and threads, and writable space. It runs
without any capability, on a read-only disk, in a network of its own.""",
    "response_description": "The new template.",
}

LIST_TEMPLATES: EndpointDoc = {
    "summary": "List the templates",
    "description": "All that sessions may run, the oldest first, for whoever "
    "is signed in.",
    "response_description": "A page of templates.",
}

GET_TEMPLATE: EndpointDoc = {
    "summary": "Read a template",
    "description": "One template with its limits.",
}

UPDATE_TEMPLATE: EndpointDoc = {
    "summary": "Change a template",
    "description": "For admins. The name stays, and sessions keep what they "
    "were started with.",
}

DELETE_TEMPLATE: EndpointDoc = {
    "summary": "Delete a template",
    "description": "For admins. One that the seats of an event grant stays "
    "(409) until the event is over. Sessions that run go on.",
}
