"""Pictures survive, files are written whole, digests are those of sha256sum."""

import hashlib

import numpy as np
import pytest
import torch

from hfld.images import cached_arrays, replacing, sha256, to_tensor, to_uint8, write_text


def test_bytes_survive_the_round_trip():
    images = np.arange(2 * 8 * 16 * 3, dtype=np.int64).reshape(2, 8, 16, 3).astype(np.uint8)
    x = to_tensor(images)
    assert x.shape == (2, 3, 8, 16)
    assert x.min() == -1
    assert x.max() == 1
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(to_uint8(x), images)
    assert to_uint8(torch.full((1, 3, 1, 1), 2.0)).max() == 255


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match=r"float64 .*expected uint8"):
        to_tensor(np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\), expected \[N, 3, H, W\]"):
        to_uint8(torch.zeros(1, 4, 4, 3))


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

    def fail(temporary):
        temporary.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk"), replacing(path) as temporary:
        fail(temporary)
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


def test_cached_arrays_are_made_once_whole_or_not_at_all(tmp_path):
    folder, made = tmp_path / "cache" / "set", []

    def write(path):
        made.append(path)
        np.save(path / "a.npy", np.arange(3))
        if len(made) == 1:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk"):
        cached_arrays(folder, write)
    assert list(folder.parent.iterdir()) == []
    for _ in range(2):
        arrays = cached_arrays(folder, write)
        assert list(arrays) == ["a"] and arrays["a"].tolist() == [0, 1, 2]
    assert len(made) == 2 and list(folder.parent.iterdir()) == [folder]
