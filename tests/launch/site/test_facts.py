"""Read what clusters say as facts; the answers are invented in the formats of Slurm 20.11 to 25."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empslurm.errors import SchedulerError
from empslurm.launch.site import facts as asking
from empslurm.launch.site.facts import Site, gpus, minutes, read

OPEN = (
    "AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A DefaultTime=01:00:00 "
    "DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=7-00:00:00 MinNodes=0 LLN=NO "
    "MaxCPUsPerNode=UNLIMITED Nodes=n[1-9] PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO "
    "OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=64 TotalNodes=4 SelectTypeParameters=NONE "
    "JobDefaults=(null) DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED"
)


def partition(name: str, **changes: str) -> str:
    """A line of `scontrol --oneliner show partition`."""
    fields = dict(word.split("=", 1) for word in OPEN.split()) | changes
    return " ".join([f"PartitionName={name}", *(f"{key}={value}" for key, value in fields.items())])


def config(**settings: str) -> str:
    """The text of `scontrol show config`."""
    given = {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageEnforce": "associations,limits,qos",
        "ClusterName": "atlas",
        "DefMemPerNode": "UNLIMITED",
        "JobDefaults": "(null)",
        "JobRequeue": "1",
        "MaxMemPerNode": "UNLIMITED",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CORE_MEMORY",
        "SLURM_VERSION": "23.11.4",
        "TrackWCKey": "No",
    } | settings
    lines = [f"{key:<23} = {value}" for key, value in given.items()]
    return "\n".join(["Configuration data as of 2026-05-04T10:11:12", *lines, "", "Slurmctld(primary) at ctl1 is UP"])


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The output of a cluster's commands; None: the command fails."""

    config: str | None = field(default_factory=config)
    partitions: str | None = ""
    sinfo: str | None = ""
    sacctmgr: Mapping[str, str] | None = None  # by the word after `show`

    def __call__(self, *command: str) -> tuple[bool, str]:
        if command[0] == "sacctmgr":
            said = None if self.sacctmgr is None else self.sacctmgr.get(command[4])
            if command[4] == "user" and said is not None:  # one field per question
                said = dict(zip(("DefaultAccount", "DefaultWCKey"), said.split("|"), strict=False)).get(
                    command[-1].removeprefix("format="), ""
                )
        else:
            said = self.sinfo if command[0] == "sinfo" else self.config if "config" in command else self.partitions
        return (False, f"{command[0]}: error: refused") if said is None else (True, said)


TYPED = Answers(
    partitions="\n".join(
        [
            partition("cpu", Default="YES"),
            partition("gpu", MaxTime="2-00:00:00", PreemptMode="REQUEUE", AllowAccounts="deepnlp,vision"),
            partition("gpu-debug", MaxTime="00:30:00"),
            partition("vip", AllowGroups="professors"),
            partition("secret", Hidden="YES"),
            partition("broken", State="DRAIN"),
        ]
    ),
    sinfo="\n".join(
        [
            "cpu|40|64|257000|1|(null)",
            "gpu|6|64|515000|1|gpu:a100:4(S:0-1),shard:a100:16(S:0-1)",
            "gpu|2|64|515000|1|gpu:a100:4(S:0-1),shard:a100:16(S:0-1)",
            "gpu-debug|1|64|515000|1|gpu:a100:4(S:0-1)",
            "vip|2|128|1030000|1|gpu:h100:8",
            "secret|1|8|16000|1|gpu:h100:8",
            "broken|1|8|16000|1|gpu:h100:8",
        ]
    ),
    sacctmgr={
        "assoc": "atlas|teaching|ada||normal|normal\natlas|deepnlp|ada||normal,long|normal\nother|far|ada||normal|",
        "user": "teaching|",
        "qos": "normal|\nlong|4-00:00:00\n",
    },
)
WHOLE = Answers(
    config=config(SelectTypeParameters="CR_CPU_MEMORY", DefMemPerCPU="2000", SLURM_VERSION="20.11.9"),
    partitions="\n".join(
        [
            partition("standard", Default="YES", OverSubscribe="EXCLUSIVE", MaxTime="1-00:00:00"),
            partition("long", OverSubscribe="EXCLUSIVE", MaxTime="UNLIMITED", ReqResv="YES"),
            partition("large", OverSubscribe="EXCLUSIVE", MinNodes="8"),
        ]
    ),
    sinfo="standard|900|128|240000|1|(null)\nlong|4|128|240000|1|(null)\nlarge|900|128|240000|1|(null)",
    sacctmgr={"assoc": "atlas|hpc_17|ada|standard|normal|\n", "user": "hpc_17|", "qos": "normal|12:00:00"},
)
NO_ACCOUNTING = Answers(
    config=config(
        AccountingStorageType="(null)", AccountingStorageEnforce="none", SelectType="select/cons_res", JobRequeue="1"
    ),
    partitions=partition("all", Default="YES", MaxTime="UNLIMITED", DefaultTime="NONE"),
    sinfo="all|3|16|64000|2|gpu:2\nall|1|16|64000|2|(null)",
)
STRICT = Answers(
    config=config(
        SelectTypeParameters="CR_CORE",
        TrackWCKey="Yes",
        AccountingStorageEnforce="associations,limits,qos,wckeys",
        JobRequeue="0",
    ),
    partitions="\n".join(
        [
            partition("batch", Default="YES", MaxTime="04:00:00", AllowQos="gpu4,gpu-debug"),
            partition("old", DenyAccounts="p1,p2"),
        ]
    ),
    sinfo="batch|10|32|1|2|gpu:v100:2,gpu:p100:2\nold|10|8|8000|1|(null)",
    sacctmgr={
        "assoc": "atlas|p1|ada||normal,gpu-debug,gpu4|normal\natlas|p2|ada||normal|normal",
        "user": "p2|*wk-17",
        "wckey": "atlas|*\natlas|wk-17\natlas|wk-18",
        "qos": "normal|\ngpu4|03:00:00",
    },
)
GARBAGE = Answers(
    config="\x00\x1b[31mnot = = a\nClusterName = \x1b]0;x\x07 $(touch pwned)\nJobRequeue = maybe\nSelectType\n",
    partitions="\n".join(
        [
            "slurm_load_partitions: warning",
            partition("$(touch", MaxTime="soon", Default="perhaps"),
            partition("a'b: {c", MaxTime="-1"),
            partition("null", MaxTime="99999999999-00:00:00", MinNodes="many"),
            "PartitionName=",
            "PartitionName=bare",
            "====",
        ]
    ),
    sinfo="null|x|y\nnull|1|0|0|0|gpu\nnull|2|99999999999999999999|1|1|\nnull|1|4|\xff|z|gpu:;rm:4,gpu:a'b:2(((\n|||||",
    sacctmgr={"assoc": "|||||\na|b\natlas|x y|ada||a\x00b,|;", "user": "\x1b[0m|", "qos": "|||\nx|y"},
)
SITES = {
    "typed": TYPED,
    "whole": WHOLE,
    "no-accounting": NO_ACCOUNTING,
    "strict": STRICT,
    "garbage": GARBAGE,
}


@pytest.fixture(autouse=True)
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    as_ada(monkeypatch.setattr)


def as_ada(setattr: Callable[..., None]) -> None:
    """A user in an ordinary group, with a torch for GPUs."""
    setattr(asking, "_user", lambda: "ada")
    setattr(asking, "_groups", lambda: ("ada", "students"))
    setattr(asking, "torch_has_gpus", lambda: True)


def test_a_cluster_with_typed_gpus_and_accounts() -> None:
    facts = read(TYPED)
    assert (facts.cluster, facts.version, facts.user) == ("atlas", "23.11.4", "ada")
    assert (facts.memory_is_shared_out, facts.requeues, facts.demands_accounts) == (True, True, True)
    assert not facts.demands_wckeys
    by_name = {partition.name: partition for partition in facts.partitions}
    assert list(by_name) == ["cpu", "gpu", "gpu-debug", "vip", "secret", "broken"]
    (nodes,) = by_name["gpu"].nodes  # nodes in two states count as the same kind
    assert (nodes.n_nodes, nodes.n_cpus, nodes.memory_mib, nodes.gpus) == (8, 64, 515000, (("a100", 4),))
    assert by_name["gpu"].max_time_min == 2 * 24 * 60
    assert by_name["gpu"].allow_accounts == ("deepnlp", "vision")
    assert by_name["vip"].allow_groups == ("professors",)
    assert (by_name["cpu"].is_default, by_name["secret"].is_hidden, by_name["broken"].state) == (True, True, "DRAIN")
    assert facts.associations is not None
    assert [entry.account for entry in facts.associations] == ["teaching", "deepnlp"]  # not those of another cluster
    assert facts.default_account == "teaching"
    assert facts.qos_time_min == {"long": 4 * 24 * 60}


def test_a_cluster_without_accounting_is_not_asked_about_it() -> None:
    asked = []

    def run(*command: str) -> tuple[bool, str]:
        asked.append(command[0])
        return NO_ACCOUNTING(*command)

    facts = read(run)
    assert asked == ["scontrol", "sinfo", "scontrol"]
    assert (facts.associations, facts.default_account, facts.wckeys, facts.enforced) == (None, None, None, ())


def test_sacctmgr_that_does_not_answer_is_not_known() -> None:
    facts = read(Answers(partitions=partition("all"), sinfo="all|1|4|4000|1|", sacctmgr=None))
    assert (facts.associations, facts.default_account, facts.wckeys) == (None, None, None)


def test_strict_cluster() -> None:
    facts = read(STRICT)
    assert (facts.memory_is_shared_out, facts.requeues, facts.demands_wckeys) == (False, False, True)
    assert facts.wckeys == ("wk-17", "wk-18")
    assert facts.partitions[0].nodes[0].memory_mib is None  # RealMemory=1: not configured
    assert facts.partitions[0].nodes[0].gpus == (("p100", 2), ("v100", 2))


def test_a_partition_s_memory_limits_stand_before_the_cluster_s() -> None:
    facts = read(
        Answers(
            config=config(DefMemPerCPU="1000", MaxMemPerCPU="4000"),
            partitions="\n".join([partition("a"), partition("b", MaxMemPerNode="9000", DefMemPerCPU="500")]),
        )
    )
    first, second = (partition.memory for partition in facts.partitions)
    assert (first.default_per_cpu, first.most_per_cpu, first.most_per_node) == (1000, 4000, None)
    assert (second.default_per_cpu, second.most_per_cpu, second.most_per_node) == (500, None, 9000)


@pytest.mark.parametrize("answers", [Answers(config=None), Answers(partitions=None), Answers(sinfo=None)])
def test_a_controller_that_does_not_answer(answers: Answers) -> None:
    with pytest.raises(SchedulerError, match=r"must answer .* but says: \w+: error: refused; try `sinfo`"):
        read(answers)


def test_empty_answers_and_very_long_ones() -> None:
    with pytest.raises(SchedulerError, match="must name at least one partition"):
        read(Answers(config=""))
    with pytest.raises(SchedulerError) as raised:
        read(lambda *command: (False, "x" * 10**6))
    assert len(str(raised.value)) < 1000


def test_an_answer_that_is_no_text() -> None:
    def run(*command: str) -> tuple[bool, str]:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    with pytest.raises(SchedulerError, match="not text in UTF-8"):
        read(run)


def test_garbage_is_passed_over() -> None:
    facts = read(GARBAGE)
    assert [partition.name for partition in facts.partitions] == ["$(touch", "a'b:", "null", "bare"]
    assert (facts.requeues, facts.select_type, facts.memory_is_shared_out) == (None, None, None)
    assert facts.partitions[2].nodes[0].n_cpus == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNLIMITED", None),
        ("2-00:00:00", 2880),
        ("12:30:59", 750),
        ("30:00", 30),
        ("90", 90),
        ("1-12", 2160),
        ("NONE", None),
        ("", None),
        (None, None),
        ("soon", None),
    ],
)
def test_times(text: str | None, expected: int | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(null)", ()),
        ("gpu:2", (("", 2),)),
        ("gpu", (("", 1),)),
        ("gpu:a100", (("a100", 1),)),
        ("gpu:a100:4(S:0-1)", (("a100", 4),)),
        ("gpu:a100:2(IDX:0,3),gpu:a100:2", (("a100", 4),)),
        ("gres/gpu:a100_1g.5gb:7,mps:100,shard:8", (("a100_1g.5gb", 7),)),
        ("gpu:no_consume:2", (("", 2),)),
        ("gpu:0", ()),
        ("craynetwork:4,hbm:16G", ()),
    ],
)
def test_gpus(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert gpus(text) == expected


@given(st.text(max_size=80))
def test_no_text_breaks_the_small_readers(text: str) -> None:
    minutes(text)
    gpus(text)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_no_answers_break_the_reading(config: str, partitions: str, more: str) -> None:
    answers = Answers(
        config=config,
        partitions=f"{partitions}\nPartitionName=a {more}",
        sinfo=more,
        sacctmgr=dict.fromkeys(("assoc", "user", "wckey", "qos"), more),
    )
    assert isinstance(read(answers), Site)


def test_the_build_of_torch_is_known_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert asking.torch_has_gpus() is ("+cpu" not in importlib.metadata.version("torch"))
    for text, expected in (
        ("cuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n", True),
        ("cuda = None\nhip = '6.2'\n", True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("", None),
    ):
        (tmp_path / "version.py").write_text(text)
        spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, spec=spec: spec)
        assert asking.torch_has_gpus() is expected
