import hashlib
import resource
import signal

import pytest

from delineate.errors import ResourceError, UsageError
from delineate.files import digest_file, format_bytes, write_atomically, write_text


def test_a_file_appears_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.csv"
    with write_atomically(path) as temporary:
        temporary.write_text("1")
        assert not path.exists()
        assert temporary.suffix == ".csv"
    assert path.read_text() == "1"
    assert [p.name for p in path.parent.iterdir()] == ["a.csv"]


def test_an_error_keeps_the_old_file_and_removes_the_temporary_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_and_fail():
        with write_atomically(path) as temporary:
            temporary.write_text("new")
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        write_and_fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_named_with_need_and_room(tmp_path):
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
    try:
        with (
            pytest.raises(ResourceError, match=r"disk full: .*big\.bin needs") as caught,
            write_atomically(tmp_path / "big.bin") as temporary,
        ):
            temporary.write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.exit_code == 5
    assert not list(tmp_path.iterdir())


def test_room_is_asked_for_before_writing(tmp_path):
    with (
        pytest.raises(ResourceError, match="needs at least 1000000"),
        write_atomically(tmp_path / "a", needed=10**18),
    ):
        pytest.fail("nothing may be written")


def test_a_folder_that_is_a_file_is_not_written_into(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises((UsageError, OSError)):
        write_text(tmp_path / "file" / "a", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(12, "12 bytes"), (1500, "1.5 kB"), (3e9, "3.0 GB"), (2e13, "20.0 TB")]
)
def test_bytes_are_shown_in_decimal_units(num_bytes, text):
    assert format_bytes(num_bytes) == text
