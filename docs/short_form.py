"""Docs of `routes/short_form.py`."""

from docs import EndpointDoc

PROCESS_NP_ARRAY: EndpointDoc = {
    "summary": "Process an array",
    "description": """The short form of `POST /v1/processes/np-array`: takes an
array, and answers at once with the id of a task.

The body is a `.npy` as `application/x-npy`, which keeps type and shape and may
be long; `operation` is then a parameter of the query. Or it is JSON,
`{"array": [...], "operation": "..."}`.

In development anybody may use it; elsewhere, who is signed in, unless
`SHORT_FORM_ANONYMOUS` says otherwise. A stranger's result may be read by
everybody who knows the id.""",
    "response_description": "The task's id.",
}

GET_RESULT: EndpointDoc = {
    "summary": "Get an array's result",
    "description": """What became of a task of `POST /process_np_array`: 202
while it waits or runs, then 200 with the result. One that failed, or was
cancelled, has none: 409 with the reason.""",
    "response_description": "The result.",
}
