"""Keys of an installation: made once, whole, and never replaced behind a person's back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from trader.runtime.errors import StartError, said_last
from trader.runtime.keys import key_read, keys_ready


def test_those_who_race_for_the_first_key_get_the_same_one(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: key_read(tmp_path, "secret.key"), range(32)))
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["secret.key"]
    assert (tmp_path / "keys" / "secret.key").stat().st_mode & 0o777 == 0o600


def test_an_empty_key_file_is_refused_with_the_fix_and_left_as_it_is(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "credential.key").write_text("")
    with pytest.raises(StartError, match=r"credential\.key is empty.*\n.*Fix: put it back from a backup"):
        key_read(tmp_path, "credential.key")
    assert (tmp_path / "keys" / "credential.key").read_text() == ""


def test_a_key_file_that_cannot_be_read_is_named_with_the_fix(tmp_path):
    (tmp_path / "keys" / "secret.key").mkdir(parents=True)
    with pytest.raises(StartError, match=r"keys/secret\.key cannot be read(.|\n)*Fix: make it a file of yours"):
        keys_ready(tmp_path)


TRACEBACK = """WARNING something before
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    x()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "manage.py", line 3, in main
    raise StartError(what, fix)
trader.runtime.errors.StartError: The key file k is empty.
  Fix: put it back.
"""


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", "it gave no reason."),
        ("CommandError: one. Fix: two\n", "CommandError: one. Fix: two"),
        (f"a warning\n{StartError('It is broken.', 'mend it.')}\n", "It is broken.\n  Fix: mend it."),
        (TRACEBACK, "trader.runtime.errors.StartError: The key file k is empty.\n  Fix: put it back."),
        ("Traceback (most recent call last):\n  cut off", "cut off"),
    ],
)
def test_what_a_program_said_last_is_told_whole(printed, said):
    assert said_last(printed) == said
