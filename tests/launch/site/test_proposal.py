"""Which profile is proposed for which cluster; the written profile can always be read back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empslurm.errors import SchedulerError, UsageError
from empslurm.launch.profile import Profile, load_profile
from empslurm.launch.site.facts import Site, read
from empslurm.launch.site.partitions import obstacles
from empslurm.launch.site.proposal import Proposal, propose
from tests.launch.site.test_facts import (
    GARBAGE,
    NO_ACCOUNTING,
    SITES,
    STRICT,
    TYPED,
    WHOLE,
    Answers,
    as_ada,
    config,
    partition,
)


@pytest.fixture(autouse=True)
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    as_ada(monkeypatch.setattr)


def load(proposal: Proposal, folder: Path) -> Profile:
    path = folder / "mine.yaml"
    path.write_text(proposal.text)
    return load_profile(path)


def fields(profile: Profile, *names: str) -> dict[str, Any]:
    return {name: getattr(profile, name) for name in names}


def why(proposal: Proposal, field: str) -> str:
    return next(choice.why for choice in proposal.choices if choice.field == field)


def test_typed_gpus_and_accounts(tmp_path: Path) -> None:
    proposal = propose(read(TYPED), "mine")
    profile = load(proposal, tmp_path)
    assert fields(profile, "partition", "account", "qos", "gpus", "gpu_type", "gres") == {
        "partition": "gpu",
        "account": "deepnlp",  # the partition does not take the default account, teaching
        "qos": None,
        "gpus": 1,
        "gpu_type": "a100",
        "gres": None,
    }
    assert fields(profile, "cpus", "mem_gb", "time", "signal_lead_s", "requeues", "exclusive", "wckey") == {
        "cpus": 8,
        "mem_gb": 24.0,
        "time": 480,
        "signal_lead_s": 180,
        "requeues": 10,
        "exclusive": False,
        "wckey": None,
    }
    assert proposal.warnings == ()
    assert [item["partition"] for item in proposal.alternatives["partitions"]] == ["gpu-debug", "cpu"]
    assert {item["partition"]: item["why"] for item in proposal.alternatives["ruled_out"]} == {
        "vip": "it is for the groups professors",
        "secret": "it is hidden",
        "broken": "its state is DRAIN",
    }
    assert proposal.text.startswith(
        "# yaml-language-server: $schema=profile.schema.json\n"
        "# Run with it: empslurm submit full_grid --profile mine\n#\n"
    )
    assert "# partition: cpu   # 40 nodes of 64 CPUs; at most 7-00:00:00\n" in proposal.text
    assert "# Not vip: it is for the groups professors.\n" in proposal.text
    assert "jobs with a higher priority may preempt yours" in why(proposal, "partition")
    assert proposal.summary == "partition gpu, account deepnlp, 1 GPU a100, 8 CPUs, 24.0 GiB, 08:00:00"


def test_whole_nodes_without_gpus(tmp_path: Path) -> None:
    proposal = propose(read(WHOLE), "mine")
    profile = load(proposal, tmp_path)
    assert fields(profile, "partition", "account", "gpus", "exclusive", "cpus", "cpus_per_pack", "mem_gb", "time") == {
        "partition": "standard",
        "account": "hpc_17",
        "gpus": 0,
        "exclusive": True,
        "cpus": 128,
        "cpus_per_pack": 8,
        "mem_gb": 222.5,
        "time": 480,
    }
    ruled_out = {item["partition"]: item["why"] for item in proposal.alternatives["ruled_out"]}
    assert ruled_out["long"].startswith("it needs a reservation")
    assert ruled_out["large"].endswith("its jobs take at least 8 nodes, ours take one")
    assert "takes none of your accounts" in ruled_out["large"]  # the association is for `standard` only
    assert proposal.warnings == ()


def test_without_accounting_and_with_gres(tmp_path: Path) -> None:
    proposal = propose(read(NO_ACCOUNTING), "mine")
    profile = load(proposal, tmp_path)
    # Two of four nodes' worth: the node without GPUs does not count.
    assert fields(profile, "partition", "account", "gres", "gpus", "gpu_type", "cpus", "mem_gb") == {
        "partition": "all",
        "account": None,
        "gres": "gpu:1",
        "gpus": 1,
        "gpu_type": None,
        "cpus": 8,
        "mem_gb": 24.0,
    }
    assert "sacctmgr is absent" in why(proposal, "account")
    assert "2 hardware threads are one core" in why(proposal, "cpus")


def test_wckeys_qos_no_memory_no_requeue(tmp_path: Path) -> None:
    proposal = propose(read(STRICT), "mine")
    profile = load(proposal, tmp_path)
    assert fields(
        profile, "partition", "account", "qos", "wckey", "gpus", "gpu_type", "mem_gb", "time", "requeues"
    ) == {
        "partition": "batch",
        "account": "p1",
        "qos": "gpu4",  # by its name, p1's other QOS is for debugging
        "wckey": "wk-17",
        "gpus": 1,
        "gpu_type": None,
        "mem_gb": None,
        "time": 180,  # the QOS's MaxWall
        "requeues": 0,
    }
    assert "# gpu_type: p100\n# gpu_type: v100\n" in proposal.text
    assert proposal.alternatives["gpu_types"] == ["p100", "v100"]
    assert proposal.alternatives["qos"] == ["gpu-debug"]


def test_an_account_is_chosen_that_has_the_qos_the_partition_demands() -> None:
    facts = read(STRICT)
    assert facts.default_account == "p2"  # which may not use gpu4
    (choice,) = [choice for choice in propose(facts, "mine").choices if choice.field == "account"]
    assert choice.value == "p1"


def test_garbage_is_ruled_out_or_written_so_that_it_can_be_read(tmp_path: Path) -> None:
    proposal = propose(read(GARBAGE), "mine")
    profile = load(proposal, tmp_path)
    assert profile.partition == "null"
    assert (profile.gpus, profile.gpu_type) == (1, None)
    assert "partition: 'null'" in proposal.text
    assert proposal.text.isascii()
    assert proposal.text.replace("\n", " ").isprintable()
    assert {item["partition"] for item in proposal.alternatives["ruled_out"]} == {"$(touch", "a'b:", "bare"}


def test_a_torch_without_gpus_asks_for_none_and_says_so(tmp_path: Path) -> None:
    facts = replace(read(TYPED), torch_has_gpus=False)
    proposal = propose(facts, "mine")
    assert load(proposal, tmp_path).partition == "cpu"
    assert "built for CPUs only" in proposal.warnings[0]
    forced = propose(facts, "mine", "gpu")
    assert fields(load(forced, tmp_path), "partition", "gpus", "gpu_type", "cpus") == {
        "partition": "gpu",
        "gpus": 0,
        "gpu_type": None,
        "cpus": 8,
    }
    assert "\n# gpus: 1\n# gpu_type: a100\n" in forced.text


def test_the_partition_asked_for(tmp_path: Path) -> None:
    facts = read(TYPED)
    proposal = propose(facts, "mine", "gpu-debug")
    assert fields(load(proposal, tmp_path), "partition", "time", "signal_lead_s") == {
        "partition": "gpu-debug",
        "time": 30,
        "signal_lead_s": 180,
    }
    assert "may not be meant for hours" in proposal.warnings[0]
    assert "takes none of your jobs now: it is for the groups professors" in propose(facts, "m", "vip").warnings[0]
    with pytest.raises(UsageError, match=r"--partition must name a partition .*gpu-debug.* but is 'gpus'"):
        propose(facts, "mine", "gpus")


def one(facts: Answers = TYPED, /, **changes: str) -> Site:
    """A cluster of one partition of four nodes with two GPUs each."""
    return read(replace(facts, partitions=partition("p", **changes), sinfo="p|4|32|128000|1|gpu:2"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"State": "DOWN"}, "state is DOWN"),
        ({"Hidden": "YES"}, "hidden"),
        ({"RootOnly": "YES"}, "only root"),
        ({"ReqResv": "YES"}, "reservation"),
        ({"AllowGroups": "gods,kings"}, "groups gods, kings"),
        ({"AllowAccounts": "others"}, "none of your accounts"),
        ({"DenyAccounts": "Teaching,deepNLP"}, "none of your accounts"),
        ({"AllowQos": "gold"}, "QOS gold"),
        ({"MinNodes": "2"}, "at least 2 nodes"),
        ({"MaxNodes": "0"}, "no node"),
        ({"MaxTime": "00:00:00"}, "no time"),
    ],
)
def test_what_rules_a_partition_out(changes: dict[str, str], reason: str) -> None:
    facts = one(**changes)
    assert reason in obstacles(facts, facts.partitions[0])[0]
    with pytest.raises(SchedulerError, match=r"a partition must be open to you, but none is \(p: .*--partition"):
        propose(facts, "mine")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"MaxTime": "00:01:00"}, {"time": 1, "signal_lead_s": 6}),
        ({"MaxTime": "00:10:00"}, {"time": 10, "signal_lead_s": 60}),
        ({"MaxCPUsPerNode": "6"}, {"cpus": 3}),
        ({"JobDefaults": "DefCpuPerGPU=4,DefMemPerGPU=10240"}, {"cpus": 4, "mem_gb": 10.0}),
        ({"MaxMemPerNode": "4096"}, {"mem_gb": 4.0}),
        ({"MaxMemPerCPU": "2048"}, {"mem_gb": None, "mem_per_cpu_gb": 2.0}),
        ({"MaxMemPerCPU": "999999999999"}, {"mem_gb": None, "mem_per_cpu_gb": 3.0}),
        ({"MaxMemPerCPU": "64000"}, {"mem_gb": None, "mem_per_cpu_gb": 3.0}),
        (
            {"OverSubscribe": "EXCLUSIVE"},
            {"exclusive": True, "gpus": 2, "cpus": 32, "cpus_per_pack": None, "mem_gb": 118.5},
        ),
        ({"OverSubscribe": "FORCE:4"}, {"exclusive": False}),
        ({"AllowQos": "long"}, {"qos": "long", "account": "deepnlp"}),
        ({"AllowQos": "normal,gold"}, {"qos": None, "account": "teaching"}),
        ({"QoS": "short"}, {"qos": None, "time": 480}),
        ({"AllocNodes": "login1"}, {"partition": "p"}),
    ],
)
def test_what_a_partition_s_settings_make_of_a_profile(
    tmp_path: Path, changes: dict[str, str], expected: dict[str, Any]
) -> None:
    assert fields(load(propose(one(**changes), "mine"), tmp_path), *expected) == expected


def test_the_partition_s_own_qos_bounds_time(tmp_path: Path) -> None:
    facts = replace(one(QoS="short"), qos_time_min={"short": 90})
    assert load(propose(facts, "mine"), tmp_path).time == 90


def test_nodes_larger_than_a_profile_can_say(tmp_path: Path) -> None:
    large = replace(TYPED, partitions=partition("p", OverSubscribe="EXCLUSIVE"), sinfo="p|1|2000|99999999999|1|gpu:100")
    assert fields(load(propose(read(large), "mine"), tmp_path), "gpus", "cpus", "mem_gb") == {
        "gpus": 64,
        "cpus": 1024,
        "mem_gb": 65536.0,
    }


def test_select_linear_gives_whole_nodes(tmp_path: Path) -> None:
    facts = one(replace(TYPED, config=config(SelectType="select/linear", SelectTypeParameters="CR_MEMORY")))
    assert fields(load(propose(facts, "mine"), tmp_path), "exclusive", "gres", "cpus") == {
        "exclusive": True,
        "gres": "gpu:2",
        "cpus": 32,
    }


def test_what_is_demanded_and_not_known_is_a_warning() -> None:
    facts = replace(one(STRICT), associations=(), wckeys=None)
    assert [sentence.partition(",")[0] for sentence in propose(facts, "mine").warnings] == [
        "this cluster demands an account",
        "this cluster demands a wckey",
    ]


def test_the_order_of_partitions() -> None:
    """Order: GPUs, a name that is not for debugging, time up to eight hours, the default, size, name."""
    lines = [
        partition("cpu", Default="YES"),
        partition("preempt", MaxTime="UNLIMITED"),
        partition("brief", MaxTime="02:00:00"),
        partition("zeta", MaxTime="08:00:00"),
        partition("large", MaxTime="UNLIMITED"),
        partition("chosen", Default="YES", MaxTime="1-00:00:00"),
    ]
    sizes = {"cpu": (9, ""), "large": (9, "gpu:2")}
    rows = [f"{name}|{n}|32|64000|1|{gres}" for name, (n, gres) in sizes.items()]
    rows += [f"{name}|4|32|64000|1|gpu:2" for name in ("preempt", "brief", "zeta", "chosen")]
    proposal = propose(read(replace(TYPED, partitions="\n".join(lines), sinfo="\n".join(rows))), "mine")
    others = [item["partition"] for item in proposal.alternatives["partitions"]]
    assert [proposal.partition, *others] == ["chosen", "large", "zeta", "brief", "preempt", "cpu"]


def test_thousands_of_partitions_stay_a_short_file(tmp_path: Path) -> None:
    names = [f"p{number:05d}" for number in range(3000)]
    lines = [partition(name, AllowGroups="x" * 500 if name[-1] == "7" else "ALL") for name in names]
    rows = [f"{name}|4|32|64000|1|{','.join(f'gpu:t{kind}:1' for kind in range(50))}" for name in names]
    proposal = propose(read(replace(TYPED, partitions="\n".join(lines), sinfo="\n".join(rows))), "mine")
    assert load(proposal, tmp_path).partition == "p00000"
    assert len(proposal.text.splitlines()) < 120
    assert max(map(len, proposal.text.splitlines())) <= 200


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("has_gpus", [True, False, None])
def test_what_is_written_says_what_was_chosen(tmp_path: Path, site: str, has_gpus: bool | None) -> None:
    facts = replace(read(SITES[site]), torch_has_gpus=has_gpus)
    for name in (None, *(entry.name for entry in facts.partitions if entry.name.isalnum())):
        proposal = propose(facts, "mine", name)
        profile = load(proposal, tmp_path)
        for choice in proposal.choices:
            value = getattr(profile, choice.field)
            assert choice.why
            if choice.field == "time":
                hours, minutes, _ = str(choice.value).split(":")
                assert value == int(hours) * 60 + int(minutes)
            elif choice.value is not None:
                assert value == choice.value, choice


ODD = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "null",
        "1",
        "1e5",
        "0x1",
        "12:30:00",
        "~",
        "- a",
        "#",
        "a: b",
        "'",
        "\\",
        "yes",
        "é",
        "+1",
        "a,b",
        "@x",
        "=",
        "\u2028",
    ]
)


@given(
    name=ODD, account=ODD, qos=ODD, kind=ODD, wckey=ODD,
    cpus=st.integers(1, 10**6), memory=st.integers(1, 10**9), time=st.integers(0, 10**7),
    select=st.sampled_from(["select/cons_tres", "select/cons_res", "select/linear"]),
    shared=st.sampled_from(["NO", "EXCLUSIVE", "FORCE:2"]),
    n_gpus=st.integers(0, 1000), limits=st.integers(0, 10**7),
)  # fmt: skip
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_names_and_numbers_make_a_profile_that_cannot_be_read(
    tmp_path: Path, name: str, account: str, qos: str, kind: str, wckey: str, cpus: int, memory: int, time: int,
    select: str, shared: str, n_gpus: int, limits: int,
) -> None:  # fmt: skip
    enforced = "associations,qos,wckeys"
    answers = Answers(
        config=config(SelectType=select, TrackWCKey="Yes", AccountingStorageEnforce=enforced, ClusterName=kind),
        partitions="\n".join(
            (
                partition(name, AllowQos=qos, AllowAccounts=account, OverSubscribe=shared, MaxTime=str(time)),
                partition("sound", AllowQos=qos, OverSubscribe=shared, MaxMemPerCPU=str(limits), MaxTime=str(time)),
            )
        ),
        sinfo="\n".join(f"{one}|1|{cpus}|{memory}|2|gpu:{kind}:{n_gpus}" for one in (name, "sound")),
        sacctmgr={
            "assoc": f"{kind}|{account}|ada||{qos}|{qos}",
            "user": f"{account}|{wckey}",
            "wckey": f"{kind}|{wckey}",
            "qos": f"{qos}|{time}",
        },
    )
    facts = read(answers)
    asked = next((entry.name for entry in facts.partitions if entry.name == "sound"), None)
    load(propose(facts, "mine", asked), tmp_path)
    try:
        proposal = propose(facts, "mine")
    except SchedulerError:
        return
    load(proposal, tmp_path)
