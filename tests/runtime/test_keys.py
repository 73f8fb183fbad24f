"""Keys of an installation: made once, whole, and never replaced behind a person's back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from trader.runtime.errors import StartError
from trader.runtime.keys import key_read


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
