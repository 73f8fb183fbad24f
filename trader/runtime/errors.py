"""What can go wrong at the start, in words: what happened, and the fix."""


class StartError(Exception):
    """The stack cannot start. The message says why and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n  Fix: {fix}")
        self.what = what
        self.fix = fix
