"""Docs of `routes/gpus.py`."""

from docs import EndpointDoc

LIST_GPUS: EndpointDoc = {
    "summary": "List the GPUs",
    "description": """What GPUs there are, and which of them are free.

An empty list says that there are none, which is no fault: sessions without GPUs
run all the same. Which session has a GPU is shown to its owner, and to admins.
One that is free may still be promised to the seats of an event.""",
    "response_description": "A page of GPUs.",
}
