"""The command line of a train process sets everything that accelerate would otherwise guess."""

import pytest

from empslurm.launch.node.process import launch_command, n_threads


@pytest.mark.parametrize(
    ("environment", "n_processes", "expected"),
    [
        ({"OMP_NUM_THREADS": "3", "SLURM_CPUS_PER_TASK": "8"}, 2, 3),
        ({"SLURM_CPUS_PER_TASK": "8"}, 2, 4),
        ({"SLURM_CPUS_PER_TASK": "8"}, 16, 1),
        ({"OMP_NUM_THREADS": "many"}, 1, 5),
        ({}, 2, 2),
    ],
)
def test_threads_are_the_share_of_the_cores(monkeypatch, environment, n_processes, expected) -> None:
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(5)))
    assert n_threads(n_processes) == expected


def test_a_slot_has_its_cores_only_and_the_users_word_is_the_last(monkeypatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    words = launch_command("no", 2, [], port=1, n_cores=6)
    assert words[words.index("--num_cpu_threads_per_process") + 1] == "3"
    assert "--multi_gpu" in words
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    words = launch_command("no", 2, [], port=1, n_cores=6)
    assert words[words.index("--num_cpu_threads_per_process") + 1] == "5"


def test_threads_and_precision_stand_in_the_command(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    words = launch_command("bf16", 1, ["--runs", "x"])
    assert words[words.index("--num_cpu_threads_per_process") + 1] == "3"
    assert words[words.index("--mixed_precision") + 1] == "bf16"
    assert words[-2:] == ["--runs", "x"]
