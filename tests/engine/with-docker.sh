#!/usr/bin/env bash
# Runs a command beside a Docker Engine of its own, e.g.
# `tests/engine/with-docker.sh python -m pytest -m engine`. Both live in
# namespaces of their own: the network is a loopback interface and the engine's
# bridges, the engine's files are in memory, and all of it ends with the command.
# With --check it only says, in one line, what is missing for that. Where no
# engine can be, it ends with 69, as nothing else here does: one that is only
# slow is a failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
groups=/sys/fs/cgroup
controllers="cpuset cpu cpuacct blkio memory devices freezer pids"
work=/run/muster-engine

missing() {
    if [ "$(id -u)" != 0 ]; then
        echo "root's rights"
        return
    fi
    for program in dockerd docker unshare ip iptables busybox python3; do
        if ! command -v "$program" >/dev/null; then
            echo "$program"
            return
        fi
    done
    if ! unshare --mount --pid --fork --net --cgroup true 2>/dev/null; then
        echo "leave to make namespaces"
    fi
}

unified() { [ "$(stat -fc %T $groups)" = cgroup2fs ]; }

# Controllers are given only to groups below one that holds no process.
own_group() {
    group=$groups$(sed -n 's/^0:://p' /proc/self/cgroup)/muster-engine-$$
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
}

mount_groups() {
    if unified; then
        umount -R $groups
        mount -t cgroup2 cgroup2 $groups
        mkdir $groups/self
        echo $$ >$groups/self/cgroup.procs
        sed 's/^/+/; s/ / +/g' $groups/cgroup.controllers \
            >$groups/cgroup.subtree_control
        return
    fi
    umount -R $groups
    mount -t sysfs sysfs /sys
    mount -t tmpfs -o mode=755 groups $groups
    for controller in $controllers; do
        mkdir $groups/"$controller"
        mount -t cgroup -o "$controller" groups $groups/"$controller"
    done
    mkdir $groups/systemd
    mount -t cgroup -o none,name=systemd groups $groups/systemd
}

# What the engine runs before a container that has GPUs. Where there are none,
# one that does nothing lets everything up to the device be tried.
pretend_gpu_driver() {
    mkdir -p $work/bin
    printf '#!/bin/sh\ncat >/dev/null\n' >$work/bin/nvidia-container-runtime-hook
    chmod +x $work/bin/nvidia-container-runtime-hook
}

start_engine() {
    PATH=$PATH:$work/bin dockerd \
        --data-root $work/data --exec-root /run/docker \
        --pidfile /run/docker.pid --host unix:///run/docker.sock \
        --storage-driver overlay2 --userland-proxy=true \
        --cgroup-parent "/$MUSTER_TEST_GROUP" \
        >$work/log 2>&1 &
    engine=$!
    began=$SECONDS
    fault=1
    for _ in $(seq 1200); do
        if docker version >/dev/null 2>&1; then
            return
        fi
        if ! kill -0 $engine 2>/dev/null; then
            # It gives up at once where it can't be, and later for want of time.
            [ $((SECONDS - began)) -gt 10 ] || fault=69
            break
        fi
        sleep 0.05
    done
    echo "with-docker: the engine does not start here:" >&2
    tail -20 $work/log >&2
    exit $fault
}

inside() {
    trap 'exit 69' EXIT
    ip link set lo up
    mount_groups
    mount -t tmpfs -o mode=755 run /run
    mkdir -p $work
    pretend_gpu_driver
    trap - EXIT
    export DOCKER_HOST=unix:///run/docker.sock
    start_engine
    for image in busybox python; do
        bash "$here/mkrootfs.sh" $image |
            docker import --change "VOLUME /data" - muster-test/$image:1 >/dev/null
    done
    export MUSTER_TEST_ENGINE=$DOCKER_HOST
    status=0
    "$@" || status=$?
    kill $engine
    wait $engine || true
    exit $status
}

# Older kernels keep the groups that the engine made until they are removed:
# those of this one alone, as another may run beside it.
remove_groups() {
    if unified; then
        echo $$ >"${group%/*}/cgroup.procs"
        find "$group" -depth -type d -exec rmdir {} + || true
        return
    fi
    while IFS=: read -r _ name path; do
        folder=$groups/${name#name=}${path%/}/$MUSTER_TEST_GROUP
        if [ -n "$name" ] && [ -d "$folder" ]; then
            find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
        fi
    done </proc/self/cgroup
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
fi
lack=$(missing)
if [ -n "$lack" ]; then
    echo "with-docker: no engine can be started here: it needs $lack" >&2
    exit 69
fi
[ "${1:-}" != --check ] || exit 0
export MUSTER_TEST_GROUP=muster-$$
if unified; then own_group; fi
status=0
unshare --mount --propagation private --pid --fork --kill-child=KILL \
    --mount-proc --ipc --uts --net --cgroup \
    bash "${BASH_SOURCE[0]}" --inside "$@" || status=$?
remove_groups
exit $status
