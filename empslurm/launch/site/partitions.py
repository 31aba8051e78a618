"""Choose a profile's partition: what rules one out, and which of the others is best; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from empslurm.errors import SchedulerError, UsageError
from empslurm.launch.profile import SlurmName
from empslurm.launch.site.facts import Association, Partition, Site
from empslurm.launch.site.wording import DOUBTFUL, MOST_SHOWN, listed, plain

SENSIBLE_MIN = 8 * 60  # of a job: long beside start-up, short enough to be started early


def writable(name: str | None) -> bool:
    """Whether a name may be written in a profile."""
    return bool(name) and bool(get_args(SlurmName)[1].holds(name))


def accounts(site: Site, partition: Partition) -> tuple[str, ...] | None:
    """The user's accounts that the partition takes; None: not known.

    Accounts with a QOS that it takes come first, and among these the default account.
    """
    if site.associations is None:
        return None
    entries = [entry for entry in site.associations if entry.partition in ("", partition.name)]
    mine = dict.fromkeys(entry.account for entry in entries)
    fitting = {entry.account for entry in entries if partition.allow_qos is None or qos_of(entry, partition)}
    allowed = None if partition.allow_accounts is None else {name.lower() for name in partition.allow_accounts}
    denied = {name.lower() for name in partition.deny_accounts}
    good = [name for name in mine if (allowed is None or name.lower() in allowed) and name.lower() not in denied]
    return tuple(sorted(filter(writable, good), key=lambda name: (name not in fitting, name != site.default_account)))


def _is_root(site: Site) -> bool:
    return site.user == "root"


def _no_group(partition: Partition, site: Site) -> bool:
    allowed = partition.allow_groups
    return allowed is not None and not _is_root(site) and not set(allowed) & set(site.groups)


def _no_account(partition: Partition, site: Site) -> bool:
    """Whether the user's accounts are known and the partition takes none of them."""
    limited = partition.allow_accounts is not None or bool(partition.deny_accounts) or site.demands_accounts
    return bool(site.associations) and limited and accounts(site, partition) == ()


def _no_qos(partition: Partition, site: Site) -> bool:
    """Whether the user's qualities of service are known and the partition takes none of them."""
    known = [entry for entry in site.associations or () if entry.qos]
    return bool(known) and partition.allow_qos is not None and not any(qos_of(entry, partition) for entry in known)


def qos_of(entry: Association, partition: Partition) -> list[str]:
    """The QOS of an association that the partition takes."""
    allowed = partition.allow_qos
    return [
        name
        for name in entry.qos
        if (allowed is None or name in allowed) and name not in partition.deny_qos and writable(name)
    ]


Rule = tuple[Callable[[Partition, Site], bool], Callable[[Partition, Site], str]]
RULES_OUT: tuple[Rule, ...] = (
    (lambda p, s: not writable(p.name), lambda p, s: "a profile cannot hold its name"),
    (lambda p, s: p.state != "UP", lambda p, s: f"its state is {p.state}"),
    (lambda p, s: p.is_hidden, lambda p, s: "it is hidden"),
    (lambda p, s: p.is_root_only and not _is_root(s), lambda p, s: "only root may use it"),
    (lambda p, s: p.is_closed_to_root and _is_root(s), lambda p, s: "it takes no jobs of root"),
    (lambda p, s: p.needs_reservation, lambda p, s: "it needs a reservation"),
    (_no_group, lambda p, s: f"it is for the groups {listed(p.allow_groups)}"),
    (_no_account, lambda p, s: f"it takes none of your accounts ({listed(sorted(_all_accounts(s)))})"),
    (_no_qos, lambda p, s: f"it is for the QOS {listed(p.allow_qos)}"),
    (lambda p, s: p.min_nodes > 1, lambda p, s: f"its jobs take at least {p.min_nodes} nodes, ours take one"),
    (lambda p, s: p.max_nodes == 0, lambda p, s: "its jobs may take no node"),
    (lambda p, s: p.max_time_min == 0, lambda p, s: "its jobs may take no time"),
    (lambda p, s: not p.nodes, lambda p, s: "no nodes of it are known"),
)


def _all_accounts(site: Site) -> set[str]:
    return {entry.account for entry in site.associations or ()}


def obstacles(site: Site, partition: Partition) -> list[str]:
    """Why a partition cannot be used; empty where it can, as far as is known."""
    return [plain(say(partition, site)) for applies, say in RULES_OUT if applies(partition, site)]


def has_gpus(partition: Partition) -> bool:
    return any(nodes.n_gpus for nodes in partition.nodes)


def wants_gpus(site: Site) -> bool:
    """Whether training can use GPUs: not with a torch that is built without them."""
    return site.torch_has_gpus is not False


def access_is_known(partition: Partition, site: Site) -> bool:
    """Whether it is known if the user may use it: accounts, QOS, nodes to submit from."""
    accounts_fit = site.associations is not None or partition.allow_accounts is None
    qos_fits = partition.allow_qos is None or any(entry.qos for entry in site.associations or ())
    return accounts_fit and qos_fits and partition.alloc_nodes is None


def _rank(site: Site, partition: Partition) -> tuple[object, ...]:
    """Sort key, best first: GPUs as wanted, made for such jobs, access, time, the default, size, name."""
    time_min = SENSIBLE_MIN if partition.max_time_min is None else min(SENSIBLE_MIN, partition.max_time_min)
    return (
        has_gpus(partition) != wants_gpus(site),
        DOUBTFUL.search(partition.name) is not None,
        not access_is_known(partition, site),
        -time_min,
        not partition.is_default,
        -sum(nodes.n_nodes * (nodes.n_gpus or 1) for nodes in partition.nodes),
        partition.name,
    )


def usable_partitions(site: Site) -> list[Partition]:
    """Partitions without an obstacle, the best first."""
    good = [partition for partition in site.partitions if not obstacles(site, partition)]
    return sorted(good, key=lambda partition: _rank(site, partition))


def best(site: Site) -> Partition:
    """The best partition without an obstacle. Raises SchedulerError where there is none."""
    usable = usable_partitions(site)
    if not usable:
        reasons = [
            f"{plain(partition.name)}: {obstacles(site, partition)[0]}" for partition in site.partitions[:MOST_SHOWN]
        ]
        raise SchedulerError(
            f"a partition must be open to you, but none is ({'; '.join(reasons)}); ask the site, or name one with "
            "--partition"
        )
    return usable[0]


def asked_for(site: Site, name: str) -> Partition:
    """The partition with this name, even with obstacles: they may pass. Raises UsageError."""
    named = next((partition for partition in site.partitions if partition.name == name and writable(name)), None)
    if named is None:
        known = sorted(partition.name for partition in site.partitions if writable(partition.name))
        raise UsageError(
            f"--partition must name a partition of this cluster ({listed(known)}), but is {plain(name)!r}; name one "
            "of them, or leave it out"
        )
    return named
