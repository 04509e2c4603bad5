#!/bin/sh
# The first process of a machine: mounts what its kind has, runs the tests, and says on the console what came of them.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t securityfs security /sys/kernel/security 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
ln -s /proc/self/fd /dev/fd
ip link set lo up
insmod /lib/veth.ko
hostname machine
. /etc/machine
cg=/sys/fs/cgroup
case $layout in
v2) mount -t cgroup2 cgroup2 $cg ;;
*)
	mount -t tmpfs tmpfs $cg
	for one in cpu,cpuacct cpuset memory pids freezer blkio; do
		mkdir $cg/$one
		mount -t cgroup -o $one cgroup $cg/$one
	done
	if [ $layout = hybrid ]; then
		mkdir $cg/unified
		mount -t cgroup2 cgroup2 $cg/unified
	fi
	;;
esac
[ -z "$hides_types" ] || mount -t tmpfs tmpfs /sys/kernel/btf
export SYSTEM_MONITOR_BIN=/bin/system-monitor
[ -z "$unprivileged" ] || SYSTEM_MONITOR_BIN=/bin/unprivileged
export SYSTEM_MONITOR_SKIPS=/run/skips SYSTEM_MONITOR_SEEN=/run/seen SYSTEM_MONITOR_TIMEOUT_FACTOR=8 RUST_BACKTRACE=0
export SYSTEM_MONITOR_DISK=/dev/nvme0n1
chmod 1777 /tmp
# The firmware leaves the cursor behind its own words.
echo
echo "@kernel $(uname -r)"
# Doctor looks from inside a container.
container=
for tree in $cg $cg/*; do
	[ -e $tree/cgroup.procs ] && [ ! -e $tree/cgroup.events ] || continue
	case $tree in $cg/*/*) continue ;; esac
	for one in cpu cpuset memory pids io; do echo +$one >$tree/cgroup.subtree_control; done 2>/dev/null
	mkdir $tree/container 2>/dev/null || continue
	for file in cpuset.cpus cpuset.mems; do
		[ ! -e $tree/container/tasks ] || [ ! -e $tree/$file ] || cat $tree/$file >$tree/container/$file
	done
	container="$container $tree/container"
done
echo "@doctor"
(
	for dir in $container; do sh -c 'echo $PPID' >$dir/cgroup.procs; done
	exec $SYSTEM_MONITOR_BIN doctor --valkey-url none --scope self --container-name machine --disk-interval 0s 2>&1
) | cat
echo "@end"
for dir in $container; do rmdir $dir; done
cd /tests
for suite in $suites; do
	echo "@suite $suite"
	# The harness reports the time of each test only if unstable options are allowed.
	RUSTC_BOOTSTRAP=1 /tests/deps/$suite --test-threads=1 -Zunstable-options --report-time 2>&1
	ended=$?
	# What the kernel thought of it: a process that it killed says nothing itself.
	[ $ended = 0 ] || dmesg | tail -n 60
	echo "@ended $ended"
done
for mark in skips seen; do
	echo "@$mark"
	sort -u /run/$mark 2>/dev/null
	echo "@end"
done
poweroff -f
