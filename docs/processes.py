"""Docs of `routes/processes.py`; what a process does, its docstring says."""

from docs import EndpointDoc

LIST_PROCESSES: EndpointDoc = {
    "summary": "List the processes",
    "description": """What tasks can run, by path, each with the JSON Schemas of
its arguments and of its result. `POST` submits one; see each of them below.""",
}

GET_PROCESS: EndpointDoc = {
    "summary": "Read a process",
    "description": """What a process does, takes and returns, with an example
that it accepts.""",
}

# Said of every process, below what it says of itself.
SUBMISSION = """The answer is a task, whose state `GET /v1/tasks/{id}` tells.

An **array** is nested lists; or `{"data": …, "dtype": "float32"}`; or
`{"real": …, "imag": …}`; or `{"task": "…"}`, an array of an earlier task of
yours: its result, or with `"of": "arguments"` what was uploaded for it. NaN and
infinities are the texts `"NaN"`, `"Infinity"`, `"-Infinity"`.

A JSON body is 1 MiB at most. Larger arrays are sent as **files**, by
`multipart/form-data`: a part named like the argument holds a `.npy`, or a
`.npz` with one array; a `.npz` part of another name holds an array for each
argument that one of its members is named like. The other arguments are
further parts, as JSON, or as plain text where that is no JSON. Files keep type
and shape. Arrays of objects are refused."""

TASK = "The task, which waits."
LOCATION = "Path of the task."
