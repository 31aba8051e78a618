"""A pack's journal can be read, whatever version wrote it."""

import json
from pathlib import Path

from empslurm.launch import journal
from empslurm.launch.journal import Event
from empslurm.launch.submission_dir import SubmissionDir


def test_a_journal_survives_a_torn_line(tmp_path: Path) -> None:
    kept = journal.journal(SubmissionDir(tmp_path), 3)
    kept.add("start", host="node1")
    with open(kept.path, "a") as stream:
        stream.write('{"event": "en')
    kept.add("end", reason="done")
    assert [event.event for event in kept.events()] == ["start", "end"]
    assert journal.count(kept.events(), "done") == 1


def test_events_of_other_versions_are_read_and_what_is_no_event_is_left_out(tmp_path: Path) -> None:
    kept = journal.journal(SubmissionDir(tmp_path), 3)
    lines = [{"event": "start"}, {"event": "end", "reason": "done", "newer": 1}, {"event": "pause"}, {"reason": "done"}]
    kept.path.parent.mkdir()
    kept.path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert kept.events() == [Event(event="start"), Event(event="end", reason="done")]


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    kept = journal.journal(SubmissionDir(tmp_path), 3)
    kept.add("end", reason="done", job="7_0", restart=0, host="node1", wall_s=1.5)
    assert sorted(json.loads(kept.path.read_text())) == ["event", "host", "job", "reason", "restart", "time", "wall_s"]


def test_whole_numbers_of_another_version_count_as_numbers(tmp_path: Path) -> None:
    kept = journal.journal(SubmissionDir(tmp_path), 3)
    ended = {"event": "end", "time": 1, "reason": "stopped", "steps": 40, "wall_s": 0, "gpu_s": 0, "energy_wh": 2}
    kept.path.parent.mkdir()
    kept.path.write_text(json.dumps(ended) + "\n")
    (event,) = kept.events()
    assert event == Event(event="end", time=1.0, reason="stopped", steps=40.0, wall_s=0.0, gpu_s=0.0, energy_wh=2.0)
    assert isinstance(event.wall_s, float)


def test_a_kill_is_counted_whatever_else_its_line_holds(tmp_path: Path) -> None:
    kept = journal.journal(SubmissionDir(tmp_path), 3)
    killed = {"event": "end", "reason": "killed", "host": "node1"}
    odd: list[dict[str, object]] = [
        {"wall_s": "long"},
        {"restart": "0"},
        {"job": 7},
        {"detail": ["a", "b"]},
        {"gpu_s": True},
    ]
    kept.path.parent.mkdir()
    kept.path.write_text("".join(json.dumps({**killed, **fields}) + "\n" for fields in odd))
    assert journal.count(kept.events(), "killed") == len(odd)
    assert kept.events() == [Event(event="end", reason="killed", host="node1")] * len(odd)
