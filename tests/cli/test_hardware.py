"""What does not fit the hardware is said before anything runs: by plan, by submit, by doctor, and in --json."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from empslurm import hardware
from empslurm.cli import doctor, submit
from empslurm.cli.prepare import Ready
from empslurm.launch.site.checks import Check
from tests import nvidia
from tests.cli.test_errors import call

GRID = """
name: grid
tasks: [epitome_er, news_empathy]
seeds: [1]
backbone: {backbone}
training:
  precision: {precision}
"""
LOCAL_GPU = "kind: local\ngpus: 1\n"
SLURM_GPU = "kind: slurm\ngpus: 1\ntime: 60\n"
SLURM_CPU = "kind: slurm\ntime: 60\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project without GPU, on a processor without bf16 units."""
    monkeypatch.chdir(tmp_path)
    nvidia.hide(monkeypatch, tmp_path / "bin")
    monkeypatch.setenv("EMPSLURM_RUNS", "runs")
    monkeypatch.setenv("EMPSLURM_DATA", "data")
    processor(tmp_path, monkeypatch, nvidia.WITHOUT_BF16)
    profiles = {"local": "kind: local\n", "gpu": LOCAL_GPU, "cluster": SLURM_GPU, "cpus": SLURM_CPU}
    (tmp_path / "slurm").mkdir()
    for name, text in profiles.items():
        (tmp_path / "slurm" / f"{name}.yaml").write_text(text)
    (tmp_path / "slurm" / "shared.yaml").write_text(SLURM_GPU + "packs_per_gpu: 2\n")
    for precision in ("fp32", "fp32_medium", "bf16"):
        for backbone in ("tiny", "minilm"):
            text = GRID.format(backbone=backbone, precision=precision)
            (tmp_path / f"{backbone}-{precision}.yaml").write_text(text)
    return tmp_path


def processor(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "CPUINFO", folder / "cpuinfo")


def told(manifest: str, profile: str) -> list[str]:
    """The warnings of a plan that speak of hardware."""
    status, out, err = call("plan", f"{manifest}.yaml", "--profile", profile, "--json")
    assert status == 0, err
    words = ("bf16", "packs_per_gpu")
    return [text for text in json.loads(out)["warnings"] if any(word in text for word in words)]


def submitted(manifest: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[str, str]:
    """What submit prints on stdout, and what on stderr before anything begins."""
    begun = []
    assert call("data", "sample")[0] == 0

    def begin(plan: Any, backbones: Any, root: Any, given: Any, out: Any) -> Ready:
        begun.append(True)
        out.say("begun")
        return Ready(backbones={}, not_here={}, datasets={}, notes=(), missing={})

    def run_here(plan: Any, wanted: Any, profile: Any, root: Any, data_root: Any, out: Any, said: Any) -> int:
        assert begun
        out.document({"manifest": plan.manifest.name, "submitted": len(wanted), "states": {}, "failed": {}})
        return 0

    monkeypatch.setattr(submit, "prepare_all", begin)
    monkeypatch.setattr(submit, "_run_here", run_here)
    status, out, err = call("submit", f"{manifest}.yaml", "--profile", "local", *options)
    assert status == 0, err
    return out, err.partition("begun")[0]


def test_bf16_where_it_is_emulated_is_warned_of_by_plan(here: Path) -> None:
    (text,) = told("tiny-bf16", "local")
    assert "4 cells train in bf16" in text
    assert "35 times as long as fp32" in text
    assert "`precision: fp32`" in text
    _, out, _ = call("plan", "tiny-bf16.yaml", "--profile", "local")
    assert f"! {text}" in out.replace("\n", " ")


def test_bf16_where_it_is_emulated_is_warned_of_by_submit_on_stderr_and_in_json(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = submitted("tiny-bf16", monkeypatch, "--json")
    (text,) = json.loads(out)["warnings"]
    assert "35 times as long as fp32" in text
    assert f"! {text}" in err
    out, err = submitted("tiny-bf16", monkeypatch)
    assert f"! {text}" in err
    assert out == ""


def test_other_precisions_are_submitted_without_a_word(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("fp32", "fp32_medium"):
        out, err = submitted(f"tiny-{precision}", monkeypatch, "--json")
        assert "warnings" not in json.loads(out)
        assert "!" not in err


@pytest.mark.parametrize("cpuinfo", [nvidia.WITH_BF16, "nothing known\n"])
def test_bf16_on_a_processor_that_has_it_or_may_have_it_is_not_warned_of(
    here: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str
) -> None:
    processor(here, monkeypatch, cpuinfo)
    assert told("tiny-bf16", "local") == []
    assert "warnings" not in json.loads(submitted("tiny-bf16", monkeypatch, "--json")[0])


def test_bf16_is_warned_of_where_the_gpu_is_hidden_and_only_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.stage(here / "bin", monkeypatch)
    assert not any("emulated" in text for text in told("minilm-bf16", "local"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert any("emulated" in text for text in told("minilm-bf16", "local"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia.stage(here / "bin", monkeypatch, status=9)
    assert any("emulated" in text for text in told("minilm-bf16", "local"))


def test_this_machines_processor_says_nothing_of_a_clusters_nodes(here: Path) -> None:
    assert told("tiny-bf16", "cpus") == []


@pytest.mark.parametrize("profile", ["cluster", "gpu"])
def test_plan_says_what_fp32_costs_on_a_gpu_and_that_another_precision_moves_ids(here: Path, profile: str) -> None:
    (text,) = [text for text in told("minilm-fp32", profile) if "tensor cores" in text]
    assert text.startswith("4 cells train in fp32")
    for said in (
        "about a tenth",
        "fp32_medium",
        "TF32",
        "a sixth to a quarter",
        "estimate",
        "not a measurement",
        "ids",
    ):
        assert said in text


def test_plan_says_so_too_for_the_gpu_of_this_machine(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told("minilm-fp32", "local") == []
    nvidia.stage(here / "bin", monkeypatch)
    assert any("tensor cores" in text for text in told("minilm-fp32", "local"))


@pytest.mark.parametrize(
    ("manifest", "profile"),
    [
        ("minilm-bf16", "cluster"),
        ("minilm-fp32_medium", "cluster"),
        ("tiny-fp32", "cluster"),
        ("minilm-fp32", "cpus"),
    ],
)
def test_it_is_not_said_of_what_uses_tensor_cores_or_is_invented_or_has_no_gpu(
    here: Path, manifest: str, profile: str
) -> None:
    assert not any("tensor cores" in text for text in told(manifest, profile))


def test_plan_suggests_that_packs_of_one_cell_share_a_gpu(here: Path) -> None:
    (text,) = [text for text in told("tiny-bf16", "cluster") if "packs_per_gpu" in text]
    assert text.startswith("4 packs train only one cell each")
    for said in ("`packs_per_gpu: 4`", "1/18", "40 %", "estimated", "profile cluster", "memory"):
        assert said in text
    assert not any("packs_per_gpu" in text for text in told("tiny-bf16", "shared"))
    assert not any("packs_per_gpu" in text for text in told("tiny-bf16", "cpus"))


def test_a_local_profile_is_told_only_of_settings_that_it_may_have(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.stage(here / "bin", monkeypatch)
    (text,) = [text for text in told("tiny-bf16", "local") if "packs_per_gpu" in text]
    assert "`gpus: 1` and `packs_per_gpu: 4`" in text
    assert "mem_gb" not in text
    (here / "slurm" / "advised.yaml").write_text("kind: local\ngpus: 1\npacks_per_gpu: 4\n")
    assert told("tiny-bf16", "advised") == []


def test_one_pack_has_nobody_to_share_a_gpu_with(here: Path) -> None:
    text = "name: one\npairs: none\ntasks: [epitome_er]\nseeds: [1]\nbackbone: tiny\ntraining: {precision: bf16}\n"
    (here / "one.yaml").write_text(text)
    assert told("one", "cluster") == []


def test_without_a_profile_plan_gives_no_advice_of_hardware(here: Path) -> None:
    _, out, _ = call("plan", "tiny-bf16.yaml", "--json")
    assert "emulated" not in out


# ---- doctor ----------------------------------------------------------------------------------------------------------


def checks() -> dict[str, Check]:
    return {check.what: check for check in doctor._device()}


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [(nvidia.WITH_BF16, "bf16 native"), (nvidia.WITHOUT_BF16, "bf16 emulated"), ("", "bf16 unknown")],
)
def test_doctor_says_whether_the_processor_computes_in_bf16(
    here: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, said: str
) -> None:
    processor(here, monkeypatch, cpuinfo)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = checks()
    assert found["processor"].found.startswith(said)
    assert found["device"].found.startswith("CPU")
    assert (found["device"].ok, found["device"].fix) == (None, "")


def test_doctor_finds_a_torch_that_cannot_use_the_gpu(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.stage(here / "bin", monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (checks()["device"].ok, "CUDA build" in checks()["device"].fix) == (False, True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose: nothing to mend
    assert checks()["device"].ok is None


@pytest.mark.parametrize(
    ("major", "minor", "bf16", "tf32"),
    [(7, 0, "emulated", "no"), (7, 5, "emulated", "no"), (8, 0, "native", "yes"), (12, 0, "native", "yes")],
)
def test_doctor_says_what_each_gpu_does_natively(
    here: Path, monkeypatch: pytest.MonkeyPatch, major: int, minor: int, bf16: str, tf32: str
) -> None:
    nvidia.stage(here / "bin", monkeypatch)
    properties = SimpleNamespace(name="NVIDIA Something", major=major, minor=minor, total_memory=40 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    found = checks()
    assert f"capability {major}.{minor}, bf16 {bf16}, TF32 {tf32}, 40.0 GiB, driver 550" in found["device: GPU 0"].found
    assert "driver unknown" in found["device: GPU 1"].found  # nvidia-smi lists one


def test_doctor_names_a_mig_instance(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia.stage(here / "bin", monkeypatch, listed=nvidia.MIG)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nvidia.PARTS[1])
    (reading,) = hardware.read_gpus(hardware.visible_gpus())
    for name in ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"):
        properties = SimpleNamespace(name=name, major=8, minor=0, total_memory=20 * 2**30)
        line = doctor.gpu_line(properties, reading)
        assert line.startswith("NVIDIA A100-SXM4-40GB MIG 3g.20gb, compute capability 8.0, bf16 native, TF32 yes, 20.0")
