"""Files are written whole, and digests are those of sha256sum."""

import hashlib

import numpy as np
import pytest

from hfld.images import replacing, sha256, write_text


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent  # another file system could not rename it
        assert not path.exists()
    assert path.read_text() == "half"
    write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk"), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_digest_is_that_of_the_bytes(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    (tmp_path / "a.bin").write_bytes(array.tobytes())
    expected = hashlib.sha256(array.tobytes()).hexdigest()
    assert sha256(tmp_path / "a.bin") == sha256(array) == sha256(array.tobytes()) == expected
    assert sha256(array.T) == hashlib.sha256(array.T.tobytes()).hexdigest()
    joined = hashlib.sha256(b"name" + array.tobytes() + array.tobytes()).hexdigest()
    assert sha256(b"name", tmp_path / "a.bin", array) == joined
