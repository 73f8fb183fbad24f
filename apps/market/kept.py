"""What must stay collected though no universe names it: upper apps say so, downward, by dotted path.

A position outlives its instrument's place in a universe (it ends by its exit or stop), and both need bars.
"""

from collections.abc import Callable, Iterable, Sequence

from apps.common.dotted import imported

Kept = Callable[[Sequence[str]], Iterable[int]]
_paths: list[str] = []


def register_kept(path: str) -> None:
    """Ask this function, at each look at a feed's plan, which instruments must be collected.

    `path` is a dotted path, `module:name`, of a synchronous function from venues' codes to instrument ids; it is
    imported when it is first asked. Apps call this in `AppConfig.ready()`.
    """
    if path not in _paths:
        _paths.append(path)


def kept_ids(venue_codes: Sequence[str]) -> set[int]:
    """Return the ids of what upper apps need of these venues now. What a selector raises is raised: never guessed."""
    return {number for path in _paths for number in imported(path)(venue_codes)}
