"""Profiles are as strict as manifests, and no sbatch option in them can reach a shell."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given

from empslurm.errors import ManifestError
from empslurm.launch.profile import MOST_CORES, Mail, Profile, ProfileFile, load_profile, profile_json_schema
from tests import hostile

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "slurm"


def load(tmp_path: Path, text: str, name: str = "x.yaml") -> Profile:
    path = tmp_path / name
    path.write_text(text)
    return load_profile(path)


def test_shipped_profiles_load_and_open_with_schema_and_command():
    names = sorted(path.stem for path in SLURM.glob("*.yaml"))
    assert names == ["debug", "example-multi-gpu", "example-single-gpu", "local", "small", "testcluster"]
    for name in names:
        first, second = (SLURM / f"{name}.yaml").read_text().splitlines()[:2]
        assert first == "# yaml-language-server: $schema=profile.schema.json"
        assert second.startswith("# Run with it: ")
        assert load_profile(SLURM / f"{name}.yaml").name == name


def test_schema_file_is_up_to_date():
    stored = json.loads((SLURM / "profile.schema.json").read_text())
    assert stored == profile_json_schema(), "write slurm/profile.schema.json again from profile_json_schema()"


def test_values_of_the_shipped_profiles():
    cluster = load_profile(SLURM / "testcluster.yaml")
    assert (cluster.partition, cluster.gpus, cluster.cpus, cluster.mem_gb, cluster.time) == ("batch", 0, 2, 1.5, 20)
    single = load_profile(SLURM / "example-single-gpu.yaml")
    assert (single.time, single.pack_size) == (480, None)
    assert single.mail == Mail(user="me@example.org", type=())
    assert single.setup == ("module load cuda/12.4", "source .venv/bin/activate")
    assert single.environment == {"HF_HUB_OFFLINE": "1"}
    several = load_profile(SLURM / "example-multi-gpu.yaml")
    assert (several.time, several.gpus, several.num_processes, several.packs_per_gpu) == (24 * 60, 4, 1, 2)


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("01:30:00", 90), ("1-00:00:00", 1440), ("00:20:01", 21), ("'100:00:00'", 6000)]
)
def test_time_is_read_as_slurm_writes_it(tmp_path, text, minutes):
    assert load(tmp_path, f"kind: slurm\ntime: {text}").time == minutes


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("time: 20:00", "time must be minutes"),
        ("time: 0", "time must be minutes"),
        ("time: 01:70:00", "time must be minutes"),
        ("partition: a b", "partition must be a name"),
        ('partition: "a\\n#SBATCH --uid=0"', "partition must be a name"),
        ("account: $(id)", "account must be a name"),
        ("qos: -x", "qos must be a name"),
        ("constraint: a;b", "constraint must be a Slurm constraint"),
        ("exclude: 'node[1-3] --x'", "exclude must be a Slurm node list"),
        ('setup: ["a\\nb"]', "setup[0] must be one line of shell"),
        ("setup: module load x", "setup must be a list"),
        ("environment: {A B: x}", "environment.'A B' must be the name of an environment variable"),
        ("environment: {HF_HUB_OFFLINE: 1}", "write '1', with the quotes"),
        ("mail: {user: a b}", "mail.user must be"),
        ("mail: {user: me, type: [FIAL]}", "did you mean FAIL?"),
        ("mail: {type: [FAIL]}", "mail must have the key `user`"),
        ("umask: 27", "three octal digits in quotes"),
        ("trackers: [tensorbord]", "did you mean tensorboard?"),
        ("trackers: [all]", "trackers[0] must be one of aim, clearml, comet_ml, dvclive, mlflow, swanlab, tensorboard"),
        ("trackers: tensorboard", "trackers must be a list"),
        ("trackers: [wandb, wandb]", "trackers[1] must occur once"),
        ("gpus: 1\nnum_processes: 2", "num_processes must be at most gpus (1), but is 2"),
        ("packs_per_gpu: 2", "packs_per_gpu must be 1 where gpus is 0"),
        ("time: 2\nsignal_lead_s: 120", "signal_lead_s must be at most half of time (2 min), but is 120 s"),
        ("requeues: 1000", "requeues must be an integer"),
        ("precision: bf16", "precision must be a known key"),
        ("gres: 'gpu:1 --x'", "gres must be generic resources such as gpu:a100:2"),
        ("gres: gpu:a100:2\ngpus: 2", "gpus must be left out where gres asks for GPUs (gpu:a100:2)"),
        ("gres: gpu:a100:99", "gres must ask for at most 64 GPUs, but asks for 99"),
        ("gpu_type: a100", "gpu_type must be used together with gpus"),
        ("mem_gb: 8\nmem_per_cpu_gb: 2", "mem_per_cpu_gb must be left out where mem_gb is given"),
        ("cpus: 4\ncpus_per_pack: 8", "cpus_per_pack must be at most cpus (4), but is 8"),
        ("comment: 'a\"b'", "comment must be plain words"),
        ("begin: $(id)", "begin must be a time such as now+1hour"),
        ("sbatch: {-C: x}", "option without its dashes, such as core-spec"),
        ("sbatch: {partition: x}", "write `partition:` instead"),
        ("sbatch: {mem: 4G}", "sbatch.mem must be left to the profile's own field mem_gb"),
        ("sbatch: {output: x}", "sbatch.output must be left to empslurm, since logs are found by their names"),
        ("sbatch: {outp: x}", "sbatch.outp must be left to empslurm"),
        ("sbatch: {job-name: x}", "since jobs are recognised by their names"),
        ("sbatch: {core-spec: false}", "remove it: an option not given is off"),
        ('sbatch: {core-spec: "a\'b"}', "sbatch.core-spec must be one line without quotes"),
    ],
)
def test_each_problem_has_its_fix(tmp_path, line, sentence):
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, f"kind: slurm\n{line}\n")
    (problem,) = caught.value.problems
    assert sentence in problem
    assert "x.yaml:" in problem


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gres: gpu:a100:2", {"gpus": 2}),
        ("gres: gpu", {"gpus": 1}),
        ("gres: gpu:2,lscratch:50", {"gpus": 2}),
        ("gres: gpu:a100:1,gpu:v100:2", {"gpus": 3}),
        ("gres: lscratch:50\ngpus: 1", {"gpus": 1}),
        ("gpus: 2\ngpu_type: a100", {"gpus": 2, "gpu_type": "a100"}),
        ("mem_per_cpu_gb: 2", {"mem_gb": None, "mem_per_cpu_gb": 2.0}),
        ("mem_gb: null", {"mem_gb": None}),
        ("exclusive: true\ncpus_per_pack: 8", {"exclusive": True, "cpus_per_pack": 8}),
        ("sbatch: {core-spec: 2, contiguous: true}", {"sbatch": {"core-spec": 2, "contiguous": True}}),
        ("mail: {user: me}", {"mail": Mail(user="me", type=())}),
        ("nice: 100\nwckey: lab\nreservation: course\nlicenses: matlab:1\nbegin: now+1hour", {"nice": 100}),
    ],
)
def test_a_profile_can_hold_what_sites_demand(tmp_path, line, expected):
    found = load(tmp_path, f"kind: slurm\n{line}\n")
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_local_profile_refuses_what_only_slurm_heeds(tmp_path):
    with pytest.raises(ManifestError, match="partition must be left out of a local profile"):
        load(tmp_path, "kind: local\npartition: gpu")


def test_a_local_profile_may_share_out_the_cores_of_this_machine(tmp_path):
    assert load(tmp_path, "kind: local").cpus == MOST_CORES
    found = load(tmp_path, "kind: local\ncpus: 8\ncpus_per_pack: 3")
    assert (found.cpus, found.cpus_per_pack) == (8, 3)
    with pytest.raises(ManifestError, match=r"cpus_per_pack must be at most cpus \(2\), but is 3"):
        load(tmp_path, "kind: local\ncpus: 2\ncpus_per_pack: 3")


def test_a_local_profile_may_share_out_the_gpus_of_a_workstation(tmp_path):
    found = load(tmp_path, "kind: local\ngpus: 2\npacks_per_gpu: 3")
    assert (found.gpus, found.packs_per_gpu) == (2, 3)
    with pytest.raises(ManifestError, match="packs_per_gpu must be 1 where gpus is 0, since no GPU is there to share"):
        load(tmp_path, "kind: local\npacks_per_gpu: 2")
    with pytest.raises(ManifestError, match=r"num_processes must be at most gpus \(1\), but is 2"):
        load(tmp_path, "kind: local\ngpus: 1\nnum_processes: 2")


@pytest.mark.parametrize("kind", ["local", "slurm"])
def test_trackers_are_named_in_any_profile_and_there_are_none_by_default(tmp_path, kind):
    assert load(tmp_path, f"kind: {kind}").trackers == ()
    assert load(tmp_path, f"kind: {kind}\ntrackers: [tensorboard, wandb]").trackers == ("tensorboard", "wandb")


def test_a_profiles_name_is_its_files(tmp_path):
    assert load(tmp_path, "kind: local", "my-gpu.yaml").name == "my-gpu"
    with pytest.raises(ManifestError, match=r"name of letters, digits .* rename the file"):
        load(tmp_path, "kind: local", "a b.yaml")


KEYS = [item.name for item in fields(ProfileFile)] + ["user", "type"]
GOOD = ["slurm", "local", "batch", 1, 2, 0.5, "01:00:00", "FAIL", "027", ["x"], None]


@hostile.fuzzing
@given(data=hostile.files(SLURM, KEYS, GOOD))
def test_any_bytes_give_a_profile_or_sentences(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    hostile.gives_value_or_sentences(lambda: load_profile(path), Profile)
