"""The record of the GPUs that a process sees; unknown values stay unknown."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from empslurm import files, hardware, provenance
from empslurm.train import save
from tests import nvidia

NUMBERS = ("memory.total", "power.draw")


def test_a_gpu_is_recorded_with_driver_memory_and_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.stage(tmp_path, monkeypatch)
    assert provenance.gpus() == [
        {
            "uuid": nvidia.A100,
            "name": "NVIDIA A100-SXM4-40GB",
            "driver_version": "550.54.15",
            "memory.total": 40960.0,
            "power.draw": 61.23,
        }
    ]
    assert provenance.collect()["gpus"] == provenance.gpus()


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, [nvidia.A100, nvidia.SECOND]),
        ("1,0", [nvidia.SECOND, nvidia.A100]),
        (f" {nvidia.SECOND} ", [nvidia.SECOND]),
        ("GPU-7777", [nvidia.SECOND]),  # CUDA takes the beginning of a UUID
        ("1,7,0", [nvidia.SECOND]),  # and nothing after an unknown name
    ],
)
def test_the_gpus_are_those_that_cuda_visible_devices_leaves_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: list[str]
) -> None:
    nvidia.stage(tmp_path, monkeypatch, listed=nvidia.TWO, rows=nvidia.ROWS)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu["uuid"] for gpu in provenance.gpus() or ()] == seen
    assert {gpu["power.draw"] for gpu in provenance.gpus() or ()} == {
        {nvidia.A100: 61.23, nvidia.SECOND: 75.0}[uuid] for uuid in seen
    }


@pytest.mark.parametrize("visible", ["", " ", "-1", "NoDevFiles", "5", "MIG-none", "MIG-GPU-none/1/0"])
def test_a_process_from_which_all_gpus_are_hidden_records_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    nvidia.stage(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert provenance.gpus() is None


@pytest.mark.parametrize(
    ("visible", "uuid", "profile"),
    [
        (nvidia.PARTS[1], nvidia.PARTS[1], "3g.20gb"),
        (nvidia.PARTS[0][:9], nvidia.PARTS[0], "1g.5gb"),
        (None, nvidia.PARTS[0], "1g.5gb"),
        ("0", nvidia.PARTS[0], "1g.5gb"),
        (nvidia.A100, nvidia.PARTS[0], "1g.5gb"),
        (f"MIG-{nvidia.A100}/1/0", f"MIG-{nvidia.A100}/1/0", None),  # it may be either of the two
    ],
)
def test_a_mig_instance_is_recorded_with_its_profile_and_never_with_the_power_of_the_whole_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, uuid: str, profile: str | None
) -> None:
    nvidia.stage(tmp_path, monkeypatch, listed=nvidia.MIG)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert provenance.gpus() == [
        {
            "uuid": nvidia.A100,
            "name": "NVIDIA A100-SXM4-40GB",
            "driver_version": "550.54.15",
            "memory.total": None,
            "power.draw": None,
            "mig_uuid": uuid,
            "mig_profile": profile,
        }
    ]


def test_the_older_names_of_mig_instances_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = f"MIG-{nvidia.A100}/7/0"
    nvidia.stage(tmp_path, monkeypatch, listed=f"{nvidia.ONE}  MIG 2g.10gb Device 0: (UUID: {old})\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", old)
    (gpu,) = provenance.gpus() or []
    assert (gpu["uuid"], gpu["mig_uuid"], gpu["mig_profile"]) == (nvidia.A100, old, "2g.10gb")


@pytest.mark.parametrize("said", ["[N/A]", "[Not Supported]", "N/A", "[Unknown Error]", "", "nan", "-1", "61 W"])
def test_what_the_driver_does_not_know_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    nvidia.stage(tmp_path, monkeypatch, rows=f"{nvidia.A100}, NVIDIA A100-SXM4-40GB, 550.54.15, 40960, {said}\n")
    (gpu,) = provenance.gpus() or []
    assert (gpu["memory.total"], gpu["power.draw"]) == (40960.0, None)


def test_a_gpu_that_is_listed_and_cannot_be_queried_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia.stage(tmp_path, monkeypatch, rows="")
    (gpu,) = provenance.gpus() or []
    assert (gpu["name"], gpu["uuid"]) == ("NVIDIA A100-SXM4-40GB", nvidia.A100)
    assert [gpu[name] for name in ("driver_version", *NUMBERS)] == [None, None, None]


def test_no_gpu_is_recorded_without_nvidia_smi_or_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia.hide(monkeypatch, tmp_path)
    assert provenance.gpus() is None
    nvidia.stage(tmp_path, monkeypatch, status=9)
    assert provenance.gpus() is None
    (tmp_path / "nvidia-smi").write_text("not a program")
    assert provenance.gpus() is None
    nvidia.stage(tmp_path, monkeypatch, listed="No devices were found\n")
    assert provenance.gpus() is None


def test_an_nvidia_smi_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.stage(tmp_path, monkeypatch)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setattr(hardware, "TIMEOUT_S", 0.2)
    assert provenance.gpus() is None


def test_a_process_on_a_gpu_records_what_it_used_and_all_it_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia.stage(tmp_path, monkeypatch, listed=nvidia.MIG)
    properties = SimpleNamespace(name="NVIDIA A100-SXM4-40GB MIG 1g.5gb", major=8, minor=0, total_memory=5 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**30)
    made = save.process(torch.device("cuda", 0))
    assert made["gpu"] == {
        "name": "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "capability": "8.0",
        "memory_bytes": 5 * 2**30,
        "cuda": torch.version.cuda,
        "peak_memory_bytes": 2**30,
    }
    assert [gpu["mig_profile"] for gpu in made["gpus"]] == ["1g.5gb"]
    files.write_json(tmp_path / "provenance.json", made)
    assert files.read_object(tmp_path / "provenance.json") == made


def test_a_process_on_the_processor_records_no_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.hide(monkeypatch, tmp_path)
    made = save.process(torch.device("cpu"))
    assert (made["device"], made["gpu"], made["gpus"]) == ("cpu", None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (nvidia.WITH_BF16, True),
        (nvidia.WITHOUT_BF16, False),
        ("flags : fpu amx_bf16\n", True),
        ("processor : 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        ("processor : 0\nFeatures\t: fp asimd\n", False),
        ("Features : fp bf16\n\nFeatures : fp\n", False),  # training may run on any core
        ("cpu : POWER9\nclock : 3800MHz\n", None),
        ("", None),
    ],
)
def test_whether_a_processor_has_bf16_units_is_yes_no_or_unknown(
    tmp_path: Path, text: str, expected: bool | None
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert hardware.cpu_bf16(path) is expected


def test_a_machine_without_cpuinfo_does_not_say(tmp_path: Path) -> None:
    assert hardware.cpu_bf16(tmp_path / "absent") is None
