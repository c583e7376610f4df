"""Docs of `routes/tasks.py`."""

from docs import EndpointDoc

LIST_TASKS: EndpointDoc = {
    "summary": "List your tasks",
    "description": """The calls of processes that you submitted, the latest
first. `status` and `process` narrow the list down; admins may ask for another
member's by `owner_id`.""",
    "response_description": "A page of tasks.",
}

GET_TASK: EndpointDoc = {
    "summary": "Get a task",
    "description": """How far a task is: its owner and admins may know.

`attempts` says how often it was begun. More than once, when an attempt failed
and the process asks for another one, or when the worker that ran it is gone:
then it runs again elsewhere within a minute. A task that is over is forgotten
at `expires_at`.""",
    "response_description": "The task.",
}

GET_TASK_RESULT: EndpointDoc = {
    "summary": "Get a task's result",
    "description": """What the process returned, in the form that `Accept`
likes best:

- `application/json`, arrays as nested lists; NaN and infinities, which JSON
  lacks, are the texts `"NaN"`, `"Infinity"`, `"-Infinity"`, in arrays and
  elsewhere;
- `application/x-npy`, where there is exactly one array, or one that is meant:
  `numpy.load` reads it, `dtype` and shape are kept;
- `image/png`, a plot of it, where the process has one.

While the task waits or runs, the answer is 202 with the task. One that failed
or was cancelled has no result: 409, with the reason.""",
    "response_description": "The result.",
}

FOLLOW_TASK: EndpointDoc = {
    "summary": "Follow a task",
    "description": """A stream of server-sent events: the task as it is now,
then as it is after each change, and at last its final state. Each event's
`data` is the task as `GET /v1/tasks/{id}` shows it, its `id` counts the
changes.

Send `Last-Event-ID` to go on where a stream broke off, on whatever worker: the
next event is what has changed since. Whoever has seen the final state is
answered 204, by which an `EventSource` knows that it need not ask again.""",
    "response_description": "The stream.",
}

CANCEL_TASK: EndpointDoc = {
    "summary": "Cancel a task",
    "description": """A task that waits is cancelled at once. One that runs is
stopped by its worker, within two seconds: follow it to see when. If it ends
before it is stopped, it has ended. One that is over can't be cancelled:
409.""",
    "response_description": "The task.",
}

RETRY_TASK: EndpointDoc = {
    "summary": "Try a task again",
    "description": """Queues a task again that failed or was cancelled, with
the same arguments, and as many attempts as a new one. Any other state: 409.""",
    "response_description": "The task.",
}

DELETE_TASK: EndpointDoc = {
    "summary": "Delete a task",
    "description": """Forgets a task that is over, with its arguments and its
result, before it expires. One that waits or runs: cancel it first, else
409.""",
}
