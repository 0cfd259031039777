"""Files that are replaced as a whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from fastmask.whole_file import write_whole


def test_a_file_stays_where_the_disk_is_full(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_whole(file, b"before")

    def full(self, content):
        with self.open("wb") as out:
            out.write(content[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"afterwards")
    assert file.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="links and devices of POSIX")
def test_a_link_stays_one_and_a_device_is_written_to(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"after"
    write_whole("/dev/null", b"gone")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"")
