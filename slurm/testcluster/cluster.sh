#!/bin/bash
# A throw-away Slurm cluster on this machine: real daemons, all state in one folder, every socket on loopback.
#
#   cluster.sh up [N]              install what is missing; start, repair or reconfigure N (4) nodes
#   cluster.sh down                cancel all jobs, stop every daemon, keep the state
#   cluster.sh purge               down, and delete the state
#   cluster.sh status              0 when every daemon runs and every node answers
#   cluster.sh env                 print variables for a shell: eval "$(cluster.sh env)"
#   cluster.sh node-kill NAME      power failure: slurmd and all tasks of the node die at once
#   cluster.sh node-start NAME     start the node again, without jobs
#   cluster.sh slurmd-kill NAME    kill only slurmd; its tasks keep running
#   cluster.sh slurmd-start NAME   start slurmd again, with these tasks
#   cluster.sh ctld-stop           stop slurmctld; jobs keep running
#   cluster.sh ctld-start          start slurmctld again
#   cluster.sh ctld-lose           slurmctld forgets every job, all jobs end, job ids start again at FirstJobId
#   cluster.sh as USER COMMAND...  run as one of the ordinary users nobody and games, who can read root's home here
#
# Environment (the values of the last `up` apply):
#   EMPSLURM_CLUSTER_STATE         state folder; ${TMPDIR:-/tmp}/empslurm-testcluster
#   EMPSLURM_CLUSTER_ACCOUNTING    1: slurmdbd and MariaDB; 0: none, so no sacct; 1
#   EMPSLURM_CLUSTER_MAX_ARRAY     MaxArraySize; 1001
#   EMPSLURM_CLUSTER_MAX_SUBMIT    MaxSubmitJobs of the user root; none
#   EMPSLURM_CLUSTER_RELEASE       Debian release whose Slurm runs, for the life of the state: trixie has 24.11; this machine's own
#   EMPSLURM_CLUSTER_EXTRA         file of slurm.conf lines; each replaces that of the same setting or partition; none
#   EMPSLURM_CLUSTER_PORT          first of 100 ports; 26900
set -u
umask 022

STATE=${EMPSLURM_CLUSTER_STATE:-${TMPDIR:-/tmp}/empslurm-testcluster}
# The Slurm of another release, if there is one, comes before this machine's.
PROGRAMS=$STATE/programs
export LC_ALL=C PATH="$PROGRAMS/bin:$PATH:/usr/sbin:/sbin"
ACCOUNTING=${EMPSLURM_CLUSTER_ACCOUNTING:-1}
MAX_ARRAY=${EMPSLURM_CLUSTER_MAX_ARRAY:-1001}
MAX_SUBMIT=${EMPSLURM_CLUSTER_MAX_SUBMIT:--1}
EXTRA=${EMPSLURM_CLUSTER_EXTRA:-/dev/null}
PORT=${EMPSLURM_CLUSTER_PORT:-26900}
# Every Debian has these users, so none has to be created.
USERS=nobody,games
HERE=$(cd "$(dirname "$0")" && pwd)
# Holds the name of the release; empty for this machine's own Slurm.
MARKER=$STATE/.empslurm-testcluster
RELEASE=$(cat "$MARKER" 2>/dev/null)
FREEZER=/sys/fs/cgroup/freezer
CGROUPS=$FREEZER/empslurm.$(printf %s "$STATE" | cksum | cut -d' ' -f1)
export SLURM_CONF=$STATE/etc/slurm.conf

say() { echo "cluster.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# ------------------------------------------------------------ processes
# run/NAME.pid holds "PID START"; the start time shows whether a PID was reused, and a zombie counts as dead.
stat_of() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f"$2"; }
pid_of() { cut -d' ' -f1 "$STATE/run/$1.pid"; }
alive() {
    local pid start
    { read -r pid start < "$STATE/run/$1.pid"; } 2>/dev/null || return 1
    [ "$(stat_of "$pid" 20)" = "$start" ] && [ "$(stat_of "$pid" 1)" != Z ]
}
gone() { ! alive "$1"; }
wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1)); shift
    until "$@" > /dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.05; done
}
launch() { # NAME COMMAND...: in the background, in its own session and environment
    local name=$1; shift
    setsid env -i PATH="$PATH" LC_ALL=C SLURM_CONF="$SLURM_CONF" "$@" < /dev/null >> "$STATE/log/$name.out" 2>&1 9>&- &
    echo "$! $(stat_of $! 20)" > "$STATE/run/$name.pid"
}
stop() { # NAME SECONDS: TERM, then KILL
    if alive "$1"; then
        kill -TERM "$(pid_of "$1")"
        wait_for "$2" gone "$1" || kill -KILL "$(pid_of "$1")"
    fi
    rm -f "$STATE/run/$1.pid"
}
# The controllers run where the host is called localhost, so that they listen there.
launch_on_localhost() { # NAME
    # shellcheck disable=SC2016
    launch "$1" unshare --uts sh -c 'hostname localhost && exec "$@"' sh "$1" -D
}

# ------------------------------------------------------------ up: packages and configuration
install_missing() {
    local need=() pair policy=/usr/sbin/policy-rc.d slurm=patchelf:patchelf
    [ -n "$RELEASE" ] || slurm='slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client slurmdbd:slurmdbd'
    for pair in munged:munge $slurm mariadbd:mariadb-server-core mariadb:mariadb-client-core; do
        command -v "${pair%%:*}" > /dev/null || need+=("${pair##*:}")
    done
    [ ${#need[@]} -gt 0 ] || return 0
    command -v apt-get > /dev/null || die "${need[*]} must be installed, but apt-get was not found; install it by hand"
    say "installing ${need[*]}"
    # The packages must not start their own daemons.
    if [ -e $policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy; fi
    update_lists && apt install -y --no-install-recommends "${need[@]}"
    local rc=$?
    [ -z "$policy" ] || rm -f "$policy"
    [ $rc = 0 ] || die "apt-get must install ${need[*]}, but failed: $(grep -m1 '^E:' "$STATE/log/apt.log"); see $STATE/log/apt.log"
}
apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@" >> "$STATE/log/apt.log" 2>&1; }
# apt-get waits for the lock of dpkg, but not for the lock of the package lists.
update_lists() {
    until apt update; do
        tail -3 "$STATE/log/apt.log" | grep -q 'lists/lock' && [ $SECONDS -lt 600 ] || return 1
        sleep 2
    done
}

# The Slurm of another release is unpacked, not installed, and uses the loader and libraries of its own packages.
# Everything else, jobs too, uses those of this machine.
fetch_release() {
    local apt=$STATE/apt mirror options libraries name program
    [ ! -d "$PROGRAMS/bin" ] || return 0
    say "fetching the Slurm of Debian $RELEASE"
    rm -rf "$PROGRAMS" "$apt"
    mkdir -p "$apt"/{lists,archives}/partial "$PROGRAMS/bin.new"; : > "$apt/status"
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $RELEASE main" > "$apt/sources.list"
    # With an empty list of installed packages, apt fetches everything that is needed.
    options=(-o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o APT::Install-Recommends=0
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::PreferencesParts=/dev/null)
    apt "${options[@]}" update && apt "${options[@]}" -y --download-only install slurmctld slurmd slurm-client slurmdbd ||
        die "apt-get must fetch the Slurm of Debian $RELEASE, but failed; see $STATE/log/apt.log"
    find "$apt/archives" -name '*.deb' -exec dpkg-deb -x {} "$PROGRAMS" \; || die "the packages in $apt must unpack"
    libraries=$(dirname "$PROGRAMS"/usr/lib/*/slurm-wlm)
    for program in "$PROGRAMS"/usr/{bin,sbin}/s*; do
        # The daemons are called NAME-wlm.
        name=${program##*/}; name=${name%-wlm}
        grep -q slurmfull "$program" 2>/dev/null || continue
        patchelf --set-interpreter "$(echo "$libraries"/ld-linux*.so.*)" --force-rpath \
            --set-rpath "$libraries:$libraries/slurm-wlm" "$program" && ln -s "$program" "$PROGRAMS/bin.new/$name" ||
            die "patchelf must change $program, but failed"
    done
    rm -rf "$apt"
    mv "$PROGRAMS/bin.new" "$PROGRAMS/bin"
}

fill() { # TEMPLATE...: to standard output
    sed -e "s|@STATE@|$STATE|g; s|@NODES@|$1|g; s|@MAX_ARRAY@|$MAX_ARRAY|g; s|@PROCTRACK@|$2|g" \
        -e "s|@PORT_SLURMCTLD@|$PORT|g; s|@PORT_SLURMDBD@|$((PORT + 1))|g; s|@PORT_MARIADBD@|$((PORT + 2))|g" \
        -e "s|@PORT_FIRST_NODE@|$((PORT + 10 + 1))|g; s|@PORT_LAST_NODE@|$((PORT + 10 + $1))|g" "${@:3}"
}
# Slurm ignores a second line about a partition, and reports a second line about anything else as an error.
replace_lines() { # FILE: print standard input, with each line of FILE instead of the one it replaces, or at the end
    awk 'function about(word) { word = $1; if (word !~ /^(PartitionName|NodeName)=/) sub(/=.*/, "", word); return word }
        FILENAME != "-" { if ($0 ~ /^ *[^ #]/) given[about()] = $0; next }
        about() in given { print given[about()]; delete given[about()]; next }
        { print }
        END { for (word in given) print given[word] }' "$1" -
}
write_config() { # N_NODES FOLDER
    local n=$1 etc=$2 proctrack=linuxproc node
    # linuxproc loses children whose parent has ended; the freezer of cgroup v1 does not.
    if mkdir -p "$CGROUPS" 2>/dev/null && [ -f "$CGROUPS/cgroup.procs" ]; then proctrack=cgroup; fi
    rm -rf "$etc"; mkdir -p "$etc"; : > "$etc/plugstack.conf"
    cat "$EXTRA" > "$etc/extra" || die "EMPSLURM_CLUSTER_EXTRA must be a readable file, not '$EXTRA'"
    (
        cd "$HERE" || exit 1
        fill "$n" $proctrack slurm.conf.in "accounting-$ACCOUNTING.conf.in" | replace_lines "$etc/extra" > "$etc/slurm.conf"
        fill "$n" $proctrack gres.conf.in > "$etc/gres.conf"
        fill "$n" $proctrack cgroup.conf.in > "$etc/cgroup.conf"
        # slurmdbd refuses a configuration that others can read, and does not see the PrivateData of slurm.conf.
        [ "$ACCOUNTING" = 0 ] || (umask 077; fill "$n" $proctrack slurmdbd.conf.in > "$etc/slurmdbd.conf"
            sed -n -E '/^(PrivateData|TrackWCKey)=/p' "$etc/extra" >> "$etc/slurmdbd.conf")
    ) || die "the templates in $HERE must be readable"
    [ -z "$RELEASE" ] || printf 'PluginDir=%s\n' "$PROGRAMS"/usr/lib/*/slurm-wlm | tee -a "$etc"/slurm*.conf > /dev/null
    seq -f 'node%g' "$n" > "$etc/nodes"
    { cat /etc/hosts; while read -r node; do echo "127.0.0.1 $node"; done < "$etc/nodes"; } > "$etc/hosts"
}

# ------------------------------------------------------------ the daemons
start_munge() {
    alive munged && return
    mkdir -p "$STATE/munge"; chmod 711 "$STATE/munge"
    [ -f "$STATE/munge/munge.key" ] || (umask 077; head -c 1024 /dev/urandom > "$STATE/munge/munge.key")
    rm -f "$STATE"/munge/munge.socket*
    launch munged munged --foreground --force --num-threads=10 --key-file="$STATE/munge/munge.key" \
        --socket="$STATE/munge/munge.socket" --pid-file="$STATE/munge/munged.pid" \
        --log-file="$STATE/log/munged.log" --seed-file="$STATE/munge/munge.seed"
    wait_for 10 munge -S "$STATE/munge/munge.socket" -n || die "munged must start, but did not; see $STATE/log/munged.log"
}
sql() { mariadb --no-defaults -S "$STATE/mariadb/socket" -e "$1"; }
start_mariadb() {
    alive mariadbd && return
    # Fast, not safe: the data will be deleted.
    local fast=(--no-defaults --user=root --datadir="$STATE/mariadb/data" --innodb-flush-method=nosync --innodb-doublewrite=0)
    mkdir -p "$STATE/mariadb"
    if [ ! -f "$STATE/mariadb/installed" ]; then
        rm -rf "$STATE/mariadb/data"
        mariadb-install-db "${fast[@]}" --auth-root-authentication-method=socket --skip-test-db \
            > "$STATE/log/mariadb-install.log" 2>&1 || die "mariadb-install-db must work; see $STATE/log/mariadb-install.log"
        touch "$STATE/mariadb/installed"
    fi
    launch mariadbd mariadbd "${fast[@]}" --socket="$STATE/mariadb/socket" --bind-address=127.0.0.1 \
        --port=$((PORT + 2)) --pid-file="$STATE/mariadb/pid" --log-error="$STATE/log/mariadbd.log" \
        --innodb-buffer-pool-size=128M --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0
    wait_for 30 sql 'select 1' || die "mariadbd must start, but did not; see $STATE/log/mariadbd.log"
    sql "create database if not exists slurm_acct_db;
         create user if not exists slurm@localhost identified by 'slurm';
         grant all on slurm_acct_db.* to slurm@localhost;
         create user if not exists slurm@'127.0.0.1' identified by 'slurm';
         grant all on slurm_acct_db.* to slurm@'127.0.0.1'" || die "MariaDB must make slurm_acct_db"
}
# slurmdbd must answer and know the cluster before slurmctld first starts.
start_slurmdbd() {
    alive slurmdbd && return
    launch_on_localhost slurmdbd
    wait_for 30 sacctmgr -n show cluster || die "slurmdbd must start, but did not; see $STATE/log/slurmdbd.log"
    [ -n "$(sacctmgr -n show cluster testcluster)" ] || sacctmgr -i add cluster testcluster > /dev/null
    [ -n "$(sacctmgr -n show association user="$USERS")" ] || sacctmgr -i add user "$USERS" account=root > /dev/null
}
start_slurmctld() {
    alive slurmctld && return
    launch_on_localhost slurmctld
    wait_for 30 slurmctld_answers || die "slurmctld must start, but did not; see $STATE/log/slurmctld.log"
}
slurmctld_answers() { scontrol ping | grep -q 'is UP'; }

# Root's home may be closed to others and hold the Python that jobs run. So in a separate mount namespace /root becomes a
# folder that is open to all and has the same contents.
open_home() { # EMPTY_FOLDER
    local thing name
    mount --rbind /root "$1" && mount -t tmpfs -o mode=755 home /root || return
    for thing in "$1"/* "$1"/.[!.]*; do
        name=/root/${thing##*/}
        if [ -L "$thing" ]; then
            cp -P "$thing" "$name"
        elif [ -d "$thing" ]; then
            mkdir "$name" && mount --rbind "$thing" "$name"
        elif [ -f "$thing" ]; then
            touch "$name" && mount --bind "$thing" "$name"
        fi || return
    done
}
# shellcheck disable=SC2016
run_as() { # USER COMMAND...
    local user=$1 gid home
    IFS=: read -r _ _ _ gid _ home _ < <(getent passwd "$user")
    exec unshare --mount --propagation private bash -c "$(declare -f open_home)"'
        open_home "$1" && exec "${@:2}"' bash "$STATE/home" \
        setpriv --reuid="$user" --regid="$gid" --clear-groups env USER="$user" LOGNAME="$user" HOME="$home" "${@:2}"
}

# A node is a set of namespaces (processes, mounts, host name, cgroup) whose init process only reaps children: killing it
# kills everything in the node at once. slurmd runs as a daemon in these namespaces.
init_of() { local pid; pid=$(pid_of "$1") && cut -d' ' -f1 < "/proc/$pid/task/$pid/children"; }
in_node() { local init; init=$(init_of "$1") && nsenter -t "${init:?}" -m -u -p -C "${@:2}"; }
nodes() { cat "$STATE/etc/nodes" 2>/dev/null; }
slurmd_signal() { alive "$1" && in_node "$1" sh -c "kill -s $2 \$(cat '$STATE/run/$1.self')" 2>/dev/null; }
no_slurmd() { ! slurmd_signal "$1" 0; }
has_name() { [ "$(in_node "$1" hostname)" = "$1" ]; }
# shellcheck disable=SC2016
start_node() {
    slurmd_signal "$1" 0 && return
    ! alive "$1" || node_kill "$1"
    mkdir -p "$STATE/spool/$1"
    [ ! -d "$CGROUPS" ] || mkdir -p "$CGROUPS/$1"
    launch "$1" sh -c '
        [ ! -d "$2" ] || echo 0 > "$2/cgroup.procs"
        exec unshare --cgroup --pid --fork --kill-child --mount --uts --mount-proc --propagation private bash -c "
            [ ! -d \"$2\" ] || mount --bind \"$2\" \"$3\"
            mount --bind \"$4\" /etc/hosts && hostname \"$1\"
            while :; do sleep infinity & wait \$!; done"
        ' sh "$1" "$CGROUPS/$1" "$FREEZER" "$STATE/etc/hosts"
    wait_for 5 has_name "$1" || die "$1 must get its own namespaces, but did not; see $STATE/log/$1.out"
    in_node "$1" bash -c "$(declare -f open_home); open_home '$STATE/home'" || die "$1 must get a /root open to all"
    slurmd_start "$1"
}
slurmd_start() {
    rm -f "$STATE/run/$1.self"
    env -i PATH="$PATH" LC_ALL=C SLURM_CONF="$SLURM_CONF" setsid nsenter -t "$(init_of "$1")" -m -u -p -C slurmd -N "$1" \
        -d "$(command -v slurmstepd)" \
        < /dev/null >> "$STATE/log/$1.out" 2>&1 9>&-
}
node_kill() {
    kill -KILL "$(pid_of "$1")"
    wait_for 5 gone "$1"; rm -f "$STATE/run/$1.pid" "$STATE/run/$1.self"
    wait_for 5 no_cgroup "$CGROUPS/$1"
}
no_cgroup() { find "$1" -depth -type d -exec rmdir {} +; [ ! -d "$1" ]; }
nodes_ready() {
    [ "$(sinfo -h -N -p batch -o %T | grep -cxE 'idle|mixed|allocated|completing')" -ge "$(nodes | wc -l)" ]
}
await_nodes() {
    local bad
    wait_for 4 nodes_ready && return
    bad=$(sinfo -h -p batch -t drain,down -o %N)
    [ -z "$bad" ] || scontrol update nodename="$bad" state=resume
    wait_for 60 nodes_ready || { sinfo -N -l >&2; die "every node must answer within 60 s, but not all did; see $STATE/log"; }
}

# ------------------------------------------------------------ commands
up() {
    local n=${1:-4} node gpu
    [[ $n =~ ^[1-9][0-9]?$ && $n -le 80 ]] || die "up takes 1 to 80 nodes, not '$n'"
    [[ ${EMPSLURM_CLUSTER_RELEASE:-} =~ ^[a-z]*$ ]] || die "EMPSLURM_CLUSTER_RELEASE must be the name of a Debian release"
    [[ $ACCOUNTING =~ ^[01]$ ]] || die "EMPSLURM_CLUSTER_ACCOUNTING must be 0 or 1, not '$ACCOUNTING'"
    [ "$ACCOUNTING" = 1 ] || [ "$MAX_SUBMIT" = -1 ] || die "EMPSLURM_CLUSTER_MAX_SUBMIT needs EMPSLURM_CLUSTER_ACCOUNTING=1"
    # Paths of Unix sockets have at most 107 bytes, and slurmd appends about 50 to the state folder.
    [[ $STATE =~ ^/[^[:space:]]{1,54}$ ]] || die "EMPSLURM_CLUSTER_STATE must be an absolute path of at most 55 characters without spaces, but is $STATE"
    [ "$(id -u)" = 0 ] || die "the cluster must be started by root, but this is $(id -un)"
    [ -f "$MARKER" ] || [ -z "$(ls -A "$STATE" 2>/dev/null)" ] || die "$STATE must be empty or this cluster's own, but holds other files; set EMPSLURM_CLUSTER_STATE to another folder"
    unshare --cgroup --pid --fork --mount --uts --mount-proc --propagation private hostname probe 2>/dev/null ||
        die "root must be allowed to make namespaces (CAP_SYS_ADMIN), but is not on this machine"
    mkdir -p "$STATE"/{etc,run,log,dev,home,slurmctld}
    lock
    [ -f "$MARKER" ] || RELEASE=${EMPSLURM_CLUSTER_RELEASE:-}
    echo "$RELEASE" > "$MARKER" || die "$STATE must be writable, but is not"
    # Daemons and the database cannot return to an older Slurm.
    [ "${EMPSLURM_CLUSTER_RELEASE:-$RELEASE}" = "$RELEASE" ] ||
        die "EMPSLURM_CLUSTER_RELEASE must be '$RELEASE', as in $STATE, not '$EMPSLURM_CLUSTER_RELEASE'; run $0 purge first"
    install_missing
    [ -z "$RELEASE" ] || fetch_release
    for gpu in 0 1; do
        [ -c "$STATE/dev/gpu$gpu" ] || mknod "$STATE/dev/gpu$gpu" c 240 $gpu || die "root must be allowed to make device nodes (CAP_MKNOD)"
    done
    write_config "$n" "$STATE/etc.new"
    if ! diff -rq "$STATE/etc" "$STATE/etc.new" > /dev/null; then
        stop_slurm
        cmp -s "$STATE/etc/slurmdbd.conf" "$STATE/etc.new/slurmdbd.conf" || stop_accounting
        rm -rf "${STATE:?}/etc"
        cp -r --preserve=mode "$STATE/etc.new" "$STATE/etc"
    fi
    start_munge
    if [ "$ACCOUNTING" = 1 ]; then start_mariadb; start_slurmdbd; fi
    start_slurmctld
    [ "$ACCOUNTING" = 0 ] || sacctmgr -i modify user root set MaxSubmitJobs="$MAX_SUBMIT" > "$STATE/log/sacctmgr.out" 2>&1 ||
        die "sacctmgr must set MaxSubmitJobs; see $STATE/log/sacctmgr.out"
    for node in $(nodes); do start_node "$node"; done
    await_nodes
    say "up: $n nodes after $SECONDS s; eval \"\$($0 env)\""
}
lock() { exec 9> "$STATE/.lock"; flock 9; }
no_jobs() { [ -z "$(squeue -h)" ]; }
stop_slurm() {
    local node
    # Start a stopped slurmctld to cancel its jobs, else they would return with the next `up`.
    if alive munged && (start_slurmctld) && ! no_jobs; then
        squeue -h -o %A | xargs scancel
        wait_for 10 no_jobs
    fi
    for node in $(nodes); do
        if alive "$node"; then slurmd_signal "$node" TERM; fi
    done
    for node in $(nodes); do
        if alive "$node"; then wait_for 5 no_slurmd "$node"; node_kill "$node"; fi
    done
    [ ! -d "$CGROUPS" ] || no_cgroup "$CGROUPS"
    stop slurmctld 15
}
lose_state() {
    local node
    stop slurmctld 15
    for node in $(nodes); do ! alive "$node" || node_kill "$node"; done
    rm -rf "${STATE:?}/slurmctld"; mkdir "$STATE/slurmctld"
    start_slurmctld
    for node in $(nodes); do start_node "$node"; done
    await_nodes
}
stop_accounting() { stop slurmdbd 15; stop mariadbd 30; }
stop_all() {
    stop_slurm
    stop_accounting
    stop munged 5
    rm -f "$STATE"/run/*
}
status() {
    local rc=0 part
    [ -f "$STATE/etc/nodes" ] || { say "no cluster in $STATE"; return 1; }
    for part in munged $([ ! -f "$STATE/etc/slurmdbd.conf" ] || echo mariadbd slurmdbd) slurmctld; do
        if alive "$part"; then echo "$part runs"; else echo "$part is stopped"; rc=1; fi
    done
    for part in $(nodes); do
        if slurmd_signal "$part" 0; then echo "$part runs"; else echo "$part is stopped"; rc=1; fi
    done
    # A client waits 9 s for a slurmctld that is down.
    ! alive slurmctld || { sinfo -h -N -p batch -o '%N is %T'; nodes_ready || rc=1; }
    return $rc
}

command=${1:-}
case $command in
    node-* | slurmd-*) nodes | grep -qx "${2:-}" || die "$command takes the name of a node of $STATE, not '${2:-}'" ;;
    down | purge | ctld-*) [ -f "$MARKER" ] || { say "no cluster in $STATE"; exit 0; } ;;
esac
case $command in
    as) [[ ,$USERS, == *,"${2:-}",* && $# -ge 3 ]] || die "as takes one of $USERS and a command, not '${*:2}'" ;;
    node-kill | slurmd-kill | slurmd-start) alive "$2" || die "$2 must run, but does not; run cluster.sh node-start $2" ;;
esac
case $command in
    up) up "${2:-}" ;;
    down) lock; stop_all ;;
    purge) lock; stop_all; rm -rf "$STATE" ;;
    status) status ;;
    env) echo "export SLURM_CONF='$SLURM_CONF' PATH='$PROGRAMS/bin':\"\$PATH\"" ;;
    node-kill) node_kill "$2" ;;
    node-start) ! alive "$2" || node_kill "$2"; start_node "$2"; await_nodes ;;
    slurmd-kill) slurmd_signal "$2" KILL ;;
    slurmd-start) slurmd_start "$2"; await_nodes ;;
    ctld-stop) stop slurmctld 15 ;;
    ctld-start) start_slurmctld ;;
    ctld-lose) lose_state ;;
    as) run_as "${@:2}" ;;
    *) sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
