"""Tasks: submit calls of processes, hand them out, keep what became of them.

Owns: `tasks`. Indexes: see INDEXES. May call: paging, task_quotas. What is
too long for a task lies in GridFS, in a bucket of the same name.

The task is the truth; a broker only carries ids, may lose them or bring them
twice. Nothing is lost: a task is stored before its submission is answered, and
looked for again as long as it waits. Nothing runs twice unseen: whoever changes
a task names the unique revision that they read, so that of several one does,
and each attempt is counted. Its worker holds a lease; when that runs out,
another one takes the task back, and what the first one still says meets no
revision any more. Each attempt writes a result file of its own.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import IO, Any, Final, Protocol

from cachetools import TTLCache

from config import db, files
from config.main import settings
from models.base import Page, new_id, utc_now
from models.exceptions import (
    ForbiddenError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TaskStateError,
    TooManyTasksError,
)
from models.logins import Actor
from models.processes import ProcessOptions
from models.tasks import (
    INLINE_BYTES,
    SCHEDULE,
    WITHOUT_DATA,
    FailureKind,
    Task,
    TaskError,
    TaskQuery,
    TaskQuota,
    TaskRead,
    TaskStatus,
    next_revision,
)
from utils import paging, task_quotas

COLLECTION: Final = "tasks"
DOCUMENTS: Final = (Task,)
INDEXES: Final = [
    # Who changes a task names the revision that it read: one of several does.
    db.IndexModel("revision", unique=True),
    # A scheduled time is taken by one worker; what is submitted twice, once.
    db.IndexModel("slot", unique=True),
    db.IndexModel([("status", db.ASCENDING), ("due_at", db.ASCENDING)]),
    db.IndexModel([("status", db.ASCENDING), ("lease_until", db.ASCENDING)]),
    db.IndexModel([("owner_id", db.ASCENDING), ("created_at", db.ASCENDING)]),
    db.IndexModel([("owner_id", db.ASCENDING), ("status", db.ASCENDING)]),
    db.IndexModel("expires_at"),
]

# Set when this process has queued something, for whoever runs or sends it.
queued: Final = asyncio.Event()
# What this process has queued and a broker is to carry.
outbox: Final[deque[str]] = deque()

# A worker that says nothing for this long is taken for dead.
LEASE: Final = timedelta(seconds=15)
# So often an attempt may end with its worker; then it is the task's fault.
_MOST_LOSSES: Final = 5
# Where a broker carries ids, one that it may have lost is sent again.
_RESENT: Final = timedelta(seconds=30)
# A submission that takes longer has broken off.
_ARRIVAL: Final = timedelta(hours=1)
# A task that only newer workers know waits so long for one.
_UNKNOWN_WAIT: Final = timedelta(seconds=10)
_UNKNOWN_PATIENCE: Final = timedelta(minutes=10)
_BACK_OFF: Final = timedelta(seconds=2)
_LONGEST_BACK_OFF: Final = timedelta(minutes=10)
_FULL_WAIT_SECONDS: Final = 1.0
_AT_ONCE: Final = 20
# Who has fewer tasks is shown them by one query; of more, a page is looked for
# among the latest first.
_MANY: Final = 500
_SPANS: Final = (
    timedelta(minutes=1),
    timedelta(minutes=20),
    timedelta(hours=6),
    timedelta(days=3),
)
# The embedded server reads all that waits, whatever is wanted of it: 35 ms for
# 2 000 tasks. So a look takes many ids, which grow old, see `claim`.
_DUE_AT_ONCE: Final = 100
_TAKEN_BACK_AT_ONCE: Final = 100
_SWEPT_AT_ONCE: Final = 100
_MOST_PLOT_BYTES: Final = 16 * 1024 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Usage:
    """What is kept of somebody's tasks."""

    tasks: int = 0
    size: int = 0


# What somebody has stored is counted so often by a process, which adds what it
# takes in meanwhile; who was told that too many wait is told so again at once.
_USED: Final[TTLCache[str | None, _Usage]] = TTLCache(10_000, ttl=5)
_FULL: Final[TTLCache[str | None, bool]] = TTLCache(10_000, ttl=1)
_DELETE_SOME: Final = "delete some, or wait until they expire"


@dataclass(slots=True)
class Figures:
    """What became of tasks in this process.

    Attributes:
        submitted: taken in.
        begun: attempts.
        succeeded: ended with a result.
        failed: ended without one.
        cancelled: ended as their owners wished.
        repeated: attempts that another one follows.
        waiting: tasks of all members and processes, when last counted.
    """

    submitted: int = 0
    begun: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    repeated: int = 0
    waiting: int = 0


FIGURES: Final = Figures()
# A longer queue is not counted to its end.
MOST_COUNTED: Final = 10_000


class Submittable(Protocol):
    """What is to be known of a process to queue a call of it."""

    @property
    def name(self) -> str:
        """Under which workers find it."""

    @property
    def options(self) -> ProcessOptions:
        """How it runs."""


# What clients do.


async def submit(
    process: Submittable,
    *,
    arguments: IO[bytes],
    actor: Actor | None,
    deed: str | None = None,
) -> Task:
    """Queues a call of a process: when this returns, it is not lost any more.

    Args:
        process: what is called.
        arguments: what it is called with, as its workers understand it.
        actor: who calls it; None for a stranger.
        deed: names the submission, which is done once.

    Raises:
        TooManyTasksError: they have as many tasks as they may have.
    """
    task = Task(
        process=process.name,
        retries=process.options.retries,
        owner_id=None if actor is None else actor.user_id,
        tier=None if actor is None else actor.tier,
        slot=deed or new_id(),
        size=arguments.seek(0, 2),
    )
    quota = task_quotas.quota_of(task.tier)
    await _require_room(task, quota)
    while True:
        try:
            task = await _store(task, arguments)
            break
        except db.DuplicateKeyError:
            done = await _find_stored(task.slot)
            if done is not None:
                return done
    # Counted with it, so that of those who submit at the same moment none gets
    # more than the quota.
    if await _waiting(task, quota) > quota.queued and await _remove(task):
        raise _too_many_wait(task, quota)
    FIGURES.submitted += 1
    _tell_of(task)
    return task


async def submit_scheduled(
    process: Submittable, *, arguments: IO[bytes], slot: str
) -> bool:
    """Queues a call that is due at a time; False when it was before.

    Args:
        process: what is called.
        arguments: what it is called with.
        slot: names the process and the time; taken once over all workers.
    """
    task = Task(
        process=process.name,
        retries=process.options.retries,
        owner_id=SCHEDULE,
        size=arguments.seek(0, 2),
        slot=slot,
    )
    try:
        await _store(task, arguments)
    except db.DuplicateKeyError:
        return False
    FIGURES.submitted += 1
    _tell_of(task)
    return True


async def get_task(task_id: str, *, actor: Actor | None) -> Task:
    """A task that the caller may see, without its arguments and result.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
    """
    document = await db.find_by_id(COLLECTION, task_id, WITHOUT_DATA)
    if document is None or document["status"] == TaskStatus.HIDDEN:
        raise TaskNotFoundError(task_id)
    task = Task.from_document(document)
    if not _may_see(task, actor):
        raise TaskNotFoundError(task_id)
    return task


async def list_tasks(query: TaskQuery, *, actor: Actor) -> Page[TaskRead]:
    """A page of the caller's tasks, or of a member's for admins; latest first.

    Raises:
        ForbiddenError: the caller asks for another one's, and is no admin.
        InvalidRequestError: the cursor is malformed or of another query.
    """
    owner_id = query.owner_id or actor.user_id
    if owner_id != actor.user_id and not actor.is_admin:
        raise ForbiddenError("Only an admin sees the tasks of others.")
    select: db.Document = {"owner_id": owner_id}
    if query.status is not None:
        select["status"] = query.status
    asked = paging.fingerprint(query, owner_id)
    found = await db.collection(COLLECTION).count_documents(
        select, limit=_MANY
    )
    page = Page[TaskRead](items=[], next_cursor=None)
    for span in paging.spans(
        query,
        asked=asked,
        key="created_at",
        lengths=_SPANS if found == _MANY else (),
    ):
        page = await _page(query, asked, select=select, span=span)
        if page.next_cursor is not None:
            break
    return page


async def _page(
    query: TaskQuery, asked: str, *, select: db.Document, span: db.Document
) -> Page[TaskRead]:
    where: list[db.Document] = [{"status": {"$ne": TaskStatus.HIDDEN}}]
    if query.process is not None:
        where.append({"process": query.process})
    if span:
        # Of the two, a time that is bounded leaves less to be read.
        where.append({key: select[key] for key in select if key != "owner_id"})
        select = {"owner_id": select["owner_id"], **span}
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=asked,
        key="created_at",
        select=select,
        where=where,
        show=lambda document: TaskRead.of(Task.from_document(document)),
        descending=True,
        without=WITHOUT_DATA,
    )


async def cancel(task_id: str, *, actor: Actor) -> Task:
    """Ends a task that waits; has one that runs stopped by its worker.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
        TaskStateError: it is over.
    """
    while True:
        task = await get_task(task_id, actor=actor)
        if task.status is TaskStatus.QUEUED:
            changed = await _end(task, TaskStatus.CANCELLED)
        elif task.status is TaskStatus.RUNNING:
            changed = await _change(task, cancelling=True)
        else:
            raise TaskStateError(task_id, task.status, "it is over already")
        if changed is not None:
            return changed


async def retry(task_id: str, *, actor: Actor) -> Task:
    """Queues a task again that failed or was cancelled.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
        TaskStateError: it waits, runs or has succeeded.
        TooManyTasksError: as many wait as may.
    """
    while True:
        task = await get_task(task_id, actor=actor)
        if task.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
            raise TaskStateError(
                task_id, task.status, "only what failed is tried again"
            )
        # An admin does it at the owner's expense.
        mine = task.owner_id == actor.user_id
        tier = actor.tier if mine else task.tier
        quota = task_quotas.quota_of(tier)
        if await _waiting(task, quota) >= quota.queued:
            raise _too_many_wait(task, quota)
        changed = await _change(
            task,
            status=TaskStatus.QUEUED,
            tier=tier,
            due_at=_first_look(),
            failures=0,
            losses=0,
            progress=0.0,
            message="",
            cancelling=False,
            finished_at=None,
            expires_at=None,
        )
        if changed is not None:
            _tell_of(changed)
            return changed


async def delete(task_id: str, *, actor: Actor) -> None:
    """Forgets a task that is over, with its result.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
        TaskStateError: it waits or runs.
    """
    while True:
        task = await get_task(task_id, actor=actor)
        if not task.status.is_final:
            raise TaskStateError(task_id, task.status, "cancel it first")
        if await _remove(task):
            return


async def open_result(
    task_id: str, *, actor: Actor | None
) -> AsyncIterator[bytes]:
    """What a task returned, in pieces, as its worker stored it.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
        TaskFailedError: it has no result, because it failed.
        TaskCancelledError: it has none, because it was cancelled.
        TaskStateError: it has none yet.
    """
    task = await get_task(task_id, actor=actor)
    match task.status:
        case TaskStatus.FAILED:
            error = task.error or TaskError(kind=FailureKind.LOST, detail="")
            raise TaskFailedError(task_id, error.kind, error.detail)
        case TaskStatus.CANCELLED:
            raise TaskCancelledError(task_id)
        case TaskStatus.QUEUED | TaskStatus.RUNNING:
            raise TaskStateError(task_id, task.status, "it has no result yet")
    if task.result_attempt:
        name = task.result_file(task.result_attempt)
        return files.read(COLLECTION, name, start=0, stop=task.result_size)
    document = await db.find_by_id(COLLECTION, task_id, {"result": 1})
    if document is None or document["result"] is None:
        raise TaskNotFoundError(task_id)
    return _in_one_piece(document["result"])


async def open_submitted(
    task_id: str, *, actor: Actor | None
) -> AsyncIterator[bytes]:
    """What a task was called with, in pieces, as it was submitted.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
    """
    task = await get_task(task_id, actor=actor)
    if task.arguments_size > INLINE_BYTES:
        return open_arguments(task)
    document = await db.find_by_id(COLLECTION, task_id, {"arguments": 1})
    if document is None or document["arguments"] is None:
        raise TaskNotFoundError(task_id)
    return _in_one_piece(document["arguments"])


async def find_plot(task: Task) -> bytes | None:
    """The picture of a task's result, where one was drawn before."""
    pieces = [
        piece
        async for piece in files.read(
            COLLECTION, task.plot_file, start=0, stop=_MOST_PLOT_BYTES
        )
    ]
    return b"".join(pieces) or None


async def keep_plot(task: Task, *, picture: bytes) -> None:
    """Keeps the picture of a task's result; several may do it at once."""
    with suppress(db.DuplicateKeyError):
        await files.write(COLLECTION, task.plot_file, file=BytesIO(picture))


async def list_of(owner_id: str) -> list[Task]:
    """All tasks of a member, without arguments and results."""
    found = await _find({"owner_id": owner_id})
    return [task for task in found if task.status is not TaskStatus.HIDDEN]


async def delete_tasks_of(owner_id: str) -> None:
    """Forgets all tasks of a member who leaves; none runs any more.

    May be repeated. A worker that runs one finds nothing to end.
    """
    while found := await _find({"owner_id": owner_id}, limit=_AT_ONCE):
        for task in found:
            await _remove(task)


async def look_at(ids: Sequence[str]) -> dict[str, Task]:
    """Those of some tasks that exist, by id, without arguments and results."""
    found = await _find({"_id": {"$in": list(ids)}})
    return {
        task.id: task
        for task in found
        if task.status is not TaskStatus.HIDDEN
    }


# What workers do.


async def list_due() -> list[str]:
    """The ids of some tasks that wait and are due, those first that were first.

    Equality and the index's order, no range: that would take the embedded
    server half as long again.
    """
    found = (
        db.collection(COLLECTION)
        .find({"status": TaskStatus.QUEUED}, {"due_at": 1})
        .sort("due_at", db.ASCENDING)
        .limit(_DUE_AT_ONCE)
    )
    now = utc_now()
    return [task["_id"] async for task in found if task["due_at"] <= now]


async def resend(task_id: str) -> bool:
    """Notes that a broker gets the id of a task; False when it needs none.

    Should it be lost, the task is due again after a while.
    """
    task = await _read(task_id)
    if task is None or task.status is not TaskStatus.QUEUED:
        return False
    return await _change(task, due_at=utc_now() + _RESENT) is not None


async def claim(
    task_id: str, *, worker: str, known: Collection[str]
) -> Task | None:
    """The task, with its arguments if they are short, for a worker to run.

    Args:
        task_id: the task.
        worker: names the worker, like no other.
        known: the processes that it can call.

    Returns:
        None when another worker has it, it is over, or as many tasks of its
        owner run as may.
    """
    task = await _read(task_id)
    if task is None or task.status is not TaskStatus.QUEUED:
        return None
    if not _is_due(task):
        # It was when the caller looked, and has failed elsewhere since.
        return None
    if task.process not in known:
        await _leave_to_others(task)
        return None
    now = utc_now()
    claimed = await _change(
        task,
        status=TaskStatus.RUNNING,
        worker=worker,
        attempts=task.attempts + 1,
        due_at=None,
        started_at=now,
        lease_until=now + LEASE,
        progress=0.0,
        message="",
    )
    if claimed is None or await _may_run(claimed):
        FIGURES.begun += claimed is not None
        return claimed
    # Two that were one too many both step back, for different times.
    wait = timedelta(seconds=_FULL_WAIT_SECONDS * random.uniform(0.5, 1.5))
    await _requeue(claimed, now + wait, attempts=task.attempts)
    return None


def open_arguments(task: Task) -> AsyncIterator[bytes]:
    """What a claimed task is called with, in pieces."""
    if task.arguments is not None:
        return _in_one_piece(task.arguments)
    return files.read(
        COLLECTION, task.arguments_file, start=0, stop=task.arguments_size
    )


async def look_again(task: Task) -> Task | None:
    """A claimed task as it is now; None when this attempt has lost it."""
    document = await db.find_by_id(COLLECTION, task.id, WITHOUT_DATA)
    if document is None:
        return None
    now = Task.from_document(document)
    mine = (task.worker, task.attempts) == (now.worker, now.attempts)
    return now if mine and now.status is TaskStatus.RUNNING else None


async def renew(task: Task, *, progress: float, message: str) -> Task | None:
    """Notes how far a task is, and that its worker lives; None when lost."""
    return await _change(
        task,
        progress=progress,
        message=message,
        lease_until=utc_now() + LEASE,
    )


async def succeed(task: Task, *, result: IO[bytes]) -> Task | None:
    """Ends a task with what it returned; None when this attempt has lost it.

    It may be repeated with the task as it is then.
    """
    size = result.seek(0, 2)
    kept: dict[str, Any] = {"size": task.size + size, "result_size": size}
    if size <= INLINE_BYTES:
        result.seek(0)
        kept["result"] = result.read()
    else:
        # What an earlier try has left.
        name = task.result_file(task.attempts)
        await files.delete(COLLECTION, [name])
        await files.write(COLLECTION, name, file=result)
        kept["result_attempt"] = task.attempts
    return await _end(
        task, TaskStatus.SUCCEEDED, progress=1.0, error=None, **kept
    )


async def fail(task: Task, *, error: TaskError) -> Task | None:
    """Ends an attempt that failed: the task is tried again, or has failed.

    Returns:
        The task as it is then; None when this attempt has lost it.
    """
    failures = task.failures + 1
    again = failures <= task.retries and error.kind is not FailureKind.INPUT
    if not again:
        return await _end(
            task, TaskStatus.FAILED, error=error, failures=failures
        )
    return await _requeue(
        task, utc_now() + back_off(failures), error=error, failures=failures
    )


async def hand_back(task: Task) -> Task | None:
    """Gives a task back that its worker, which ends, does not finish."""
    return await _requeue(task, utc_now())


async def note_cancelled(task: Task) -> Task | None:
    """Ends a task that was stopped, as its owner wanted."""
    return await _end(task, TaskStatus.CANCELLED)


async def drop_result(task: Task) -> None:
    """Removes what an attempt left behind that had lost its task."""
    document = await db.find_by_id(COLLECTION, task.id, {"result_attempt": 1})
    if document is None or document["result_attempt"] != task.attempts:
        await files.delete(COLLECTION, [task.result_file(task.attempts)])


async def count_waiting() -> None:
    """Counts the tasks of all members that wait; a chore."""
    FIGURES.waiting = await db.collection(COLLECTION).count_documents(
        {"status": TaskStatus.QUEUED}, limit=MOST_COUNTED
    )


async def take_back_lost() -> int:
    """Queues tasks again whose worker is gone; safe in several workers.

    Returns:
        How many were taken back.
    """
    found = (
        db.collection(COLLECTION)
        .find({"status": TaskStatus.RUNNING}, WITHOUT_DATA)
        .sort("lease_until", db.ASCENDING)
        .limit(_TAKEN_BACK_AT_ONCE)
    )
    lost = [Task.from_document(document) async for document in found]
    now = utc_now()
    taken = 0
    for task in lost:
        if task.lease_until is not None and task.lease_until < now:
            taken += await _take_back(task) is not None
    if taken:
        queued.set()
    return taken


async def sweep_expired() -> int:
    """Forgets what has expired, files first; may be repeated.

    Returns:
        How many tasks are gone.
    """
    expired = {"expires_at": {"$gt": _EPOCH, "$lt": utc_now()}}
    found = await _find(expired, limit=_SWEPT_AT_ONCE)
    return sum([await _remove(task) for task in found])


def back_off(failures: int) -> timedelta:
    """How long to wait after a number of failures: twice as long each time.

    Between a half of that and one and a half, so that what failed together is
    not tried together.
    """
    doublings = min(failures - 1, 20)
    pause = min(_BACK_OFF * (1 << doublings), _LONGEST_BACK_OFF)
    return pause * random.uniform(0.5, 1.5)


def _may_see(task: Task, actor: Actor | None) -> bool:
    if task.owner_id is None:
        return True
    return actor is not None and (
        actor.is_admin or task.owner_id == actor.user_id
    )


def _tell_of(task: Task) -> None:
    """Says that a task is queued to those who run or send it."""
    if settings.task_broker_url is not None:
        outbox.append(task.id)
    queued.set()


def _is_due(task: Task) -> bool:
    """Whether a task that waits may run; what a broker brings may."""
    if settings.task_broker_url is not None:
        return True
    return task.due_at is not None and task.due_at <= utc_now()


def _first_look() -> datetime:
    """When a task that is queued now is looked for in the database.

    Where a broker carries ids, it is sent before; this is in case it was lost.
    """
    now = utc_now()
    return now if settings.task_broker_url is None else now + _RESENT


async def _require_room(task: Task, quota: TaskQuota) -> None:
    """Checks what is stored, as it was some seconds ago at most.

    Raises:
        TooManyTasksError: there is no room for another task.
    """
    if task.owner_id in _FULL:
        raise _too_many_wait(task, quota)
    usage = _USED.get(task.owner_id)
    if usage is None:
        usage = _USED[task.owner_id] = await _usage_of(task.owner_id)
    if usage.tasks >= quota.stored:
        raise TooManyTasksError("tasks", quota.stored, _DELETE_SOME)
    if usage.size + task.size > quota.stored_bytes:
        raise TooManyTasksError(
            "bytes of arguments and results", quota.stored_bytes, _DELETE_SOME
        )
    usage.tasks += 1
    usage.size += task.size


async def _usage_of(owner_id: str | None) -> _Usage:
    counted = await db.collection(COLLECTION).aggregate(
        [
            {"$match": {"owner_id": owner_id}},
            {
                "$group": {
                    "_id": None,
                    "tasks": {"$sum": 1},
                    "size": {"$sum": "$size"},
                }
            },
        ]
    )
    groups = await counted.to_list()
    return _Usage(groups[0]["tasks"], groups[0]["size"]) if groups else _Usage()


async def _waiting(task: Task, quota: TaskQuota) -> int:
    states = [TaskStatus.QUEUED, TaskStatus.HIDDEN]
    return await db.collection(COLLECTION).count_documents(
        {"owner_id": task.owner_id, "status": {"$in": states}},
        limit=quota.queued + 1,
    )


def _too_many_wait(task: Task, quota: TaskQuota) -> TooManyTasksError:
    _FULL[task.owner_id] = True
    return TooManyTasksError(
        "waiting tasks", quota.queued, "wait until some have run"
    )


async def _store(task: Task, arguments: IO[bytes]) -> Task:
    """Queues a task with its arguments, at one stroke.

    Long ones are stored first, while nobody sees the task; what a crash leaves
    behind, the sweep finds.
    """
    now = utc_now()
    task.arguments_size = task.size
    if task.size <= INLINE_BYTES:
        arguments.seek(0)
        task.arguments, task.due_at = arguments.read(), _first_look()
        await db.collection(COLLECTION).insert_one(task.dict())
        return task
    task.status, task.expires_at = TaskStatus.HIDDEN, now + _ARRIVAL
    await db.collection(COLLECTION).insert_one(task.dict())
    await files.write(COLLECTION, task.arguments_file, file=arguments)
    stored = await _change(
        task, status=TaskStatus.QUEUED, due_at=_first_look(), expires_at=None
    )
    if stored is None:
        # The account was closed, or storing took longer than an hour.
        await files.delete(COLLECTION, task.all_files)
        raise TaskNotFoundError(task.id)
    return stored


async def _find_stored(slot: str) -> Task | None:
    """The task that has a slot; one that nobody finished storing goes.

    Who still stores it, though its time is over, finds it gone.
    """
    found = await _find({"slot": slot})
    if found and found[0].status is TaskStatus.HIDDEN:
        await _remove(found[0])
        return None
    return found[0] if found else None


async def _leave_to_others(task: Task) -> None:
    """Leaves a task to workers that know its process, for a while."""
    now = utc_now()
    if now < task.created_at + _UNKNOWN_PATIENCE:
        await _change(task, due_at=now + _UNKNOWN_WAIT)
        return
    detail = f"No worker knows a process {task.process}."
    error = TaskError(kind=FailureKind.UNKNOWN_PROCESS, detail=detail)
    await _end(task, TaskStatus.FAILED, error=error)


async def _may_run(claimed: Task) -> bool:
    if claimed.owner_id == SCHEDULE:
        return True
    most = task_quotas.quota_of(claimed.tier).running
    running = await db.collection(COLLECTION).count_documents(
        {"owner_id": claimed.owner_id, "status": TaskStatus.RUNNING},
        limit=most + 1,
    )
    return running <= most


async def _take_back(task: Task) -> Task | None:
    if task.cancelling:
        return await _end(task, TaskStatus.CANCELLED)
    losses = task.losses + 1
    detail = f"The worker that ran it was lost, {losses} times."
    error = TaskError(kind=FailureKind.LOST, detail=detail)
    if losses > _MOST_LOSSES:
        return await _end(task, TaskStatus.FAILED, error=error, losses=losses)
    return await _requeue(task, utc_now(), losses=losses)


async def _requeue(task: Task, due_at: datetime, **fields: Any) -> Task | None:
    changed = await _change(
        task,
        status=TaskStatus.QUEUED,
        due_at=due_at,
        worker=None,
        lease_until=None,
        **fields,
    )
    if changed is not None:
        FIGURES.repeated += changed.attempts == task.attempts
        queued.set()
    return changed


async def _end(task: Task, status: TaskStatus, **fields: Any) -> Task | None:
    now = utc_now()
    ended = await _change(
        task,
        status=status,
        due_at=None,
        lease_until=None,
        worker=None,
        finished_at=now,
        expires_at=now + timedelta(days=settings.task_result_days),
        **fields,
    )
    if ended is not None:
        count = getattr(FIGURES, status) + 1
        setattr(FIGURES, status, count)
    return ended


async def _remove(task: Task) -> bool:
    """Forgets a task as it was read; False when it has changed since.

    First nobody sees it any more, then its files go, then itself: what a crash
    leaves behind, the sweep finds.
    """
    hidden = await _change(
        task, status=TaskStatus.HIDDEN, expires_at=utc_now()
    )
    if hidden is None:
        return False
    await files.delete(COLLECTION, hidden.all_files)
    await db.collection(COLLECTION).delete_one({"_id": task.id})
    return True


async def _read(task_id: str) -> Task | None:
    document = await db.find_by_id(COLLECTION, task_id)
    return None if document is None else Task.from_document(document)


async def _find(condition: db.Document, *, limit: int = 0) -> list[Task]:
    found = db.collection(COLLECTION).find(
        condition, WITHOUT_DATA, limit=limit
    )
    return [Task.from_document(document) async for document in found]


async def _change(task: Task, **fields: Any) -> Task | None:
    """Changes a task as it was read; None when it has changed since."""
    revision = next_revision(task.revision)
    changed = task.model_copy(update={**fields, "revision": revision})
    stored = changed.model_dump(include={*fields, "revision"})
    result = await db.collection(COLLECTION).update_one(
        {"revision": task.revision}, {"$set": stored}
    )
    return changed if result.matched_count == 1 else None


async def _in_one_piece(data: bytes) -> AsyncIterator[bytes]:
    yield data
