"""Process errors: why a process can't do what it was asked for."""


class ProcessInputError(ValueError):
    """The arguments fit their types, but this can't be computed from them.

    A process raises it with a sentence for whoever sent the arguments: what
    is wrong with them, and what to send instead. The task fails with that
    sentence and is not tried again: its arguments stay what they are.
    """
