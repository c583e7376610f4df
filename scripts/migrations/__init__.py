"""Changes of what is stored, each done once by `scripts.migrate`.

A file `m0001_fold_names.py` in here is one; the numbers are their order. Its
`step` does a batch, by a function of the collection's owner, which returns the
last `_id` of the batch, or None when there is no more:

    from utils import users


    async def step(position: str | None) -> str | None:
        return await users.fold_names(after=position, limit=500)

A batch may be done again, as after a crash, and members go on while it runs:
it changes what the new release needs and the one before can live with.
"""
