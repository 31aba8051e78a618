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


def test_a_request_that_was_sent_twice_counts_as_won(tmp_path, monkeypatch):
    link = os.link

    def made_then_refused(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", made_then_refused)
    assert files.create_exclusive(tmp_path / "claim", b"x")
    assert os.listdir(tmp_path) == ["claim"]


def test_a_link_that_lost_the_race_is_no_win_whatever_the_error(tmp_path, monkeypatch):
    def lost(source, target):
        target.write_bytes(b"other")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", lost)
    assert not files.create_exclusive(tmp_path / "claim", b"x")
    assert (tmp_path / "claim").read_bytes() == b"other"


def test_a_file_system_without_hard_links_is_named_as_such(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match=r"with hard links, .* choose a runs root on another file system"):
        files.create_exclusive(tmp_path / "claim", b"x")
    assert os.listdir(tmp_path) == []


def test_what_exists_is_not_written_again_even_where_nothing_can_be(tmp_path, monkeypatch):
    files.create_exclusive(tmp_path / "cell.json", b"x")
    monkeypatch.setattr(files, "_write_beside", None)
    assert not files.create_exclusive(tmp_path / "cell.json", b"y")


def test_a_rename_whose_answer_was_lost_is_done(tmp_path, monkeypatch):
    replace = os.replace

    def made_but_lost(source, target):
        replace(source, target)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    files.write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "replace", made_but_lost)
    files.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EROFS, errno.ESTALE, errno.EDQUOT, errno.EXDEV])
def test_a_rename_that_failed_leaves_the_old_file_and_nothing_beside(tmp_path, monkeypatch, number):
    def refuse(source, target):
        raise OSError(number, os.strerror(number))

    files.write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError, match=os.strerror(number)):
        files.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    opened, stale = os.open, [OSError(errno.ESTALE, "Stale file handle")] * 2

    def sometimes(*arguments):
        if stale:
            raise stale.pop()
        return opened(*arguments)

    monkeypatch.setattr(os, "open", sometimes)
    assert files.read_bytes(tmp_path / "file") == b"x"
    stale += [OSError(errno.ESTALE, "Stale file handle")] * files.READ_TRIES
    with pytest.raises(StoreError, match="must be readable, but the file system says: Stale file handle"):
        files.read_bytes(tmp_path / "file")


def test_what_a_kill_left_beside_is_swept(tmp_path):
    (tmp_path / ".step.ckpt.1.aa.tmp").write_bytes(b"torn")
    (tmp_path / "step.ckpt").write_bytes(b"whole")
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["step.ckpt"]
    files.sweep(tmp_path / "absent")


def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_a_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DamagedError, match="must be a regular file"):
            files.read_bytes(path)
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "absent")


def test_a_line_separator_inside_a_value_tears_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    files.append_line(path, files.to_line({"name": "a\u2028b\x85c"}))
    assert files.read_lines(path) == [{"name": "a\u2028b\x85c"}]


def test_torn_lines_are_left_out_and_closed(tmp_path):
    path = tmp_path / "lines.jsonl"
    files.append_line(path, json.dumps({"n": 1}))
    with open(path, "ab") as stream:
        stream.write(b'{"n": 2')
    files.append_line(path, json.dumps({"n": 3}))
    assert [row["n"] for row in files.read_lines(path)] == [1, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" * 60 + b"]" * 60,
        b"\x00",
        b"NaN",
        b"[-Infinity]",
        b"1e999",
        b"9" * 400,
        b'"\\ud800"',
    ],
)
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
