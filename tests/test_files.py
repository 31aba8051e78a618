"""Atomic replace, exclusive create, and sentences instead of tracebacks."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from empslurm import files
from empslurm.errors import DamagedError, StoreError


def test_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "deep" / "file.json"
    files.write_json(path, {"a": 1})
    files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 2}
    assert os.listdir(path.parent) == ["file.json"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; make room"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_of_many_creators_one_wins_with_its_whole_content(tmp_path):
    path = tmp_path / "claim"
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda n: files.create_exclusive(path, b"%d" % n * 1000), range(16)))
    assert sum(won) == 1
    assert path.read_bytes() == b"%d" % won.index(True) * 1000
    assert os.listdir(tmp_path) == ["claim"]


def test_a_lost_answer_of_a_link_that_was_made_counts_as_won(tmp_path, monkeypatch):
    link = os.link

    def made_but_lost(source, target):
        link(source, target)
        raise OSError(errno.EIO, "stale file handle")

    monkeypatch.setattr(os, "link", made_but_lost)
    assert files.create_exclusive(tmp_path / "claim", b"x")


def test_torn_lines_are_left_out_and_closed(tmp_path):
    path = tmp_path / "lines.jsonl"
    files.append_line(path, json.dumps({"n": 1}))
    with open(path, "ab") as stream:
        stream.write(b'{"n": 2')
    files.append_line(path, json.dumps({"n": 3}))
    assert [row["n"] for row in files.read_lines(path)] == [1, 3]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"\x00"])
def test_damaged_json_is_one_sentence(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="must hold JSON"):
        files.read_json(path)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"0" * 100)
    with pytest.raises(DamagedError, match="must be smaller than 99 bytes"):
        files.read_bytes(path, 99)
