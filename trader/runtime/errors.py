"""What can go wrong at the start, in words: what happened, and the fix."""


class StartError(Exception):
    """The stack cannot start. The message says why and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n  Fix: {fix}")
        self.what = what
        self.fix = fix


def said_last(printed: str) -> str:
    """Return what a failed program said last, whole: the end of a traceback, or a message with its indented lines."""
    lines = printed.strip().splitlines()
    if not lines:
        return "it gave no reason."
    traceback = max((number for number, line in enumerate(lines) if line.startswith("Traceback (")), default=-1)
    words = [number for number, line in enumerate(lines) if number > traceback and not line.startswith(" ")]
    if not words:
        return lines[-1].strip()
    return "\n".join(lines[words[0] if traceback >= 0 else words[-1] :])
