"""The fields of a proposed profile, in the order of the file, each with its reason; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from empslurm.launch.site.draft import MOST_CPUS, Draft
from empslurm.launch.site.partitions import access_is_known, has_gpus, writable
from empslurm.launch.site.wording import GIB, described, duration, gib, gibibytes, listed, plain

FULL_LEAD_MIN = 30  # jobs of at least this length save three minutes before their end
LEAD_S = 180
LITTLE_GIB = 6.0  # with less, long texts need smaller micro-batches
REQUEUES = 10


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One field of the profile. `value` None: left out, or null where the default is not null."""

    field: str
    value: str | int | float | bool | None
    why: str


def _partition(draft: Draft) -> Choice:
    partition = draft.partition
    words = [described(partition)]
    if partition.is_default:
        words.append("the cluster's default partition")
    if partition.preempt_mode.upper() in ("REQUEUE", "CANCEL", "SUSPEND"):
        words.append(f"jobs with a higher priority may preempt yours there ({plain(partition.preempt_mode)})")
    if partition.oversubscribe.upper().startswith("FORCE"):
        words.append(f"jobs share its cores ({plain(partition.oversubscribe)})")
    if not access_is_known(partition, draft.site):
        words.append("whether you may use it is not known")
    return Choice(field="partition", value=partition.name, why="; ".join(words))


def _account(draft: Draft) -> Choice:
    site = draft.site
    if draft.accounts is None:
        why = "left to the default: sacctmgr is absent or does not answer, or there is no accounting"
    elif draft.account is None:
        why = "left out: sacctmgr names no account of yours for this partition"
    elif draft.account == site.default_account:
        why = "your default account, as sacctmgr says"
    elif len(draft.accounts) == 1:
        why = "your only account for this partition, as sacctmgr says"
    else:
        why = "the first of your accounts for this partition; which one has time left is not known"
    return Choice(field="account", value=draft.account, why=why)


def _qos(draft: Draft) -> Choice:
    allowed, entry = draft.partition.allow_qos, draft.association
    if draft.qos is None:
        default = plain(entry.default_qos) if entry and entry.default_qos else ""
        why = "left to your default: the partition demands none"
        if allowed is not None:
            why = f"left to your default {default}, which the partition takes" if default else "not known"
    elif entry is None or not entry.qos:
        why = f"the partition takes {listed(allowed)} only; whether you have it is not known"
    else:
        taken = f"takes {listed(allowed)} only" if allowed is not None else "does not take your default"
        why = f"the partition {taken}, and you have this one"
    return Choice(field="qos", value=draft.qos, why=why)


def gpu_syntax(draft: Draft) -> str:
    """`gres` where the scheduler knows GPUs as generic resources only, `gpus` otherwise."""
    return "gpus" if draft.site.select_type in (None, "select/cons_tres") else "gres"


def _gpus(draft: Draft) -> Choice | None:
    whole = "all of a node, since jobs get whole nodes" if draft.exclusive else "one per job; packs are separate jobs"
    if not draft.n_gpus:
        return Choice(field="gpus", value=0, why=_no_gpus(draft))
    if gpu_syntax(draft) == "gres":
        value = ":".join(filter(None, ("gpu", draft.gpu_type, str(draft.n_gpus))))
        why = f"{whole}; {plain(draft.site.select_type)} knows GPUs by --gres only"
        return Choice(field="gres", value=value, why=why)
    return Choice(field="gpus", value=draft.n_gpus, why=f"{whole} ({described(draft.partition)})")


def _no_gpus(draft: Draft) -> str:
    if not has_gpus(draft.partition):
        return "its nodes have none"
    return (
        "the nodes have GPUs, but the torch installed here is built for CPUs only, so jobs with GPUs would fail; "
        "for GPUs, install its CUDA build or set `python:` to a container with it, then ask again with another name"
    )


def _gpu_type(draft: Draft) -> Choice | None:
    if not draft.n_gpus or gpu_syntax(draft) == "gres":
        return None
    if draft.gpu_type:
        return Choice(field="gpu_type", value=draft.gpu_type, why="the only type there")
    if draft.gpu_types == ("",):
        return Choice(field="gpu_type", value=None, why="left out: the site gives its GPUs no types")
    types = listed([kind or "without a type" for kind in draft.gpu_types])
    return Choice(field="gpu_type", value=None, why=f"left out, so that jobs run on any type: there are {types}")


def _cpus(draft: Draft) -> Choice:
    if draft.node_cpus is None:
        why = "not known: sinfo names no nodes of this partition"
    elif draft.exclusive:
        why = "all of a node, since jobs get whole nodes"
    elif draft.n_gpus:
        n_gpus = max(nodes.n_gpus for nodes in draft.nodes)
        why = (
            f"at most {MOST_CPUS} per GPU, and at most a GPU's share of a node ({draft.node_cpus} CPUs, {n_gpus} GPUs)"
        )
        if draft.partition.cpus_per_gpu:
            why += f"; the site's default is {draft.partition.cpus_per_gpu} per GPU"
    else:
        why = f"at most {MOST_CPUS}, the most that a pack uses; the smallest node has {draft.node_cpus}"
    threads = max((nodes.threads_per_core for nodes in draft.nodes), default=1)
    return Choice(
        field="cpus", value=draft.cpus, why=why + (f"; {threads} hardware threads are one core" if threads > 1 else "")
    )


def _cpus_per_pack(draft: Draft) -> Choice | None:
    if not draft.exclusive or draft.n_gpus or draft.cpus <= MOST_CPUS:
        return None
    why = f"a node trains {draft.cpus // MOST_CPUS} packs at once"
    return Choice(field="cpus_per_pack", value=MOST_CPUS, why=why)


def _memory(draft: Draft) -> Choice:
    memory, site = draft.partition.memory, draft.site
    if site.memory_is_shared_out is False:
        why = "left out: this cluster does not allocate memory to jobs (SelectTypeParameters)"
        return Choice(field="mem_gb", value=None, why=why)
    if memory.most_per_cpu:
        share = draft.memory_mib / draft.cpus if draft.memory_mib else memory.most_per_cpu
        why = f"the site allows {gib(memory.most_per_cpu)} per core at most (MaxMemPerCPU)"
        return Choice(field="mem_per_cpu_gb", value=gibibytes(min(share, memory.most_per_cpu)), why=why)
    if draft.memory_mib is None:
        why = "left to the site's default: how much memory the nodes have is not known"
        return Choice(field="mem_gb", value=None, why=why)
    why = f"at most a job's share of a node, {gib(_least_memory(draft))} beside {draft.node_cpus} CPUs"
    if draft.exclusive:
        why = f"of a whole node, {gib(_least_memory(draft))}"
    if draft.n_gpus and memory.default_per_gpu:
        why += f"; the site's default is {gib(memory.default_per_gpu)} per GPU"
    if memory.default_per_cpu:
        why += f"; a job without this field gets {gib(memory.default_per_cpu)} per core"
    if site.memory_is_shared_out is None:
        why += "; whether the cluster allocates memory to jobs is not known"
    if draft.memory_mib < LITTLE_GIB * GIB:
        why += "; little for long texts: training will use smaller micro-batches"
    return Choice(field="mem_gb", value=gibibytes(draft.memory_mib), why=why)


def _least_memory(draft: Draft) -> int:
    return min(nodes.memory_mib for nodes in draft.nodes if nodes.memory_mib)


def _time(draft: Draft) -> Choice:
    bound = min(draft.time_limits, key=lambda what: draft.time_limits[what])
    most, default = draft.partition.max_time_min, draft.partition.default_time_min
    why = "the partition sets no limit" if most is None else f"the partition allows {duration(most)}"
    if bound not in ("what is sensible", "the partition"):
        why = f"{plain(bound)} allows no more"
    if default is not None and default != most:
        why += f"; a job without this field gets {duration(default)}"
    if draft.time_min <= 10:
        why += "; so short that start-up takes a large part of it"
    else:
        why += "; long compared with start-up; a job that reaches it continues from its checkpoint"
    return Choice(field="time", value=duration(draft.time_min), why=why)


def _signal(draft: Draft) -> Choice:
    lead_s = LEAD_S if draft.time_min >= FULL_LEAD_MIN else draft.time_min * 60 * LEAD_S // (FULL_LEAD_MIN * 60)
    return Choice(field="signal_lead_s", value=lead_s, why="seconds before its limit at which a job saves")


def _exclusive(draft: Draft) -> Choice | None:
    if not draft.exclusive:
        return None
    linear = draft.site.select_type == "select/linear"
    why = "select/linear gives whole nodes" if linear else "the partition gives whole nodes (OverSubscribe=EXCLUSIVE)"
    return Choice(field="exclusive", value=True, why=why)


def _wckey(draft: Draft) -> Choice | None:
    if not draft.site.demands_wckeys:
        return None
    good = next(filter(writable, draft.site.wckeys or ()), None)
    why = "this cluster demands one (TrackWCKey, AccountingStorageEnforce)"
    return Choice(
        field="wckey", value=good, why=why if good else f"{why}, but yours is not known: ask the site for one"
    )


def _requeues(draft: Draft) -> Choice:
    if draft.site.requeues is False:
        why = (
            "jobs of this site are not requeued by default (JobRequeue=0), so the next `submit` continues what a "
            f"limit ended; where the site allows --requeue, write {REQUEUES}"
        )
        return Choice(field="requeues", value=0, why=why)
    why = (
        "at most this many restarts of one job"
        if draft.site.requeues
        else "at most this many restarts of one job; whether the site allows them is not known"
    )
    return Choice(field="requeues", value=REQUEUES, why=why)


FIELDS: tuple[Callable[[Draft], Choice | None], ...] = (
    _partition, _account, _qos, _gpus, _gpu_type, _cpus, _cpus_per_pack, _memory, _time, _signal, _exclusive, _wckey,
    _requeues,
)  # fmt: skip
