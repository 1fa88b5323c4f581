#!/bin/busybox sh
# The first process of a VM of `cargo xtask vm`. The host's files are its root, read-only over 9p, with a tmpfs laid
# over them that takes what is written; /tmp and /run are its own. It runs the parts that /job names, and powers off.
#
# ttyS0: the kernel and this script. ttyS1: what the parts print. ttyS2: one line per part, and `end` behind the last.

/bin/busybox --install -s /bin
export PATH=/bin

stop() {
    echo "$*" >/dev/ttyS2
    poweroff -f
    # Not on with the script, whatever keeps the power on; the deadline ends this.
    while :; do sleep 60; done
}

must() {
    "$@" || stop "fail $*"
}

# Runs a command in the root that the host lends: part NAME COMMAND...
part() {
    name=$1
    shift
    echo "== $name" >/dev/ttyS1
    # Through a pipe: on a terminal, programs would use colours.
    { chroot /root "$@" </dev/null 2>&1; echo $? >/code; } | cat >/dev/ttyS1
    echo "part $(cat /code) $name" >/dev/ttyS2
}

mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
. /settings
for module in $modules; do
    must insmod "/modules/$module"
done
must mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /lower
must mount -t tmpfs upper /upper
mkdir /upper/data /upper/work
must mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /root
for folder in proc sys dev; do
    must mount --bind "/$folder" "/root/$folder"
done
mkdir -p /dev/pts /dev/shm
must mount -t devpts devpts /dev/pts
for folder in dev/shm tmp run; do
    must mount -t tmpfs tmpfs "/root/$folder"
done
chmod 1777 /root/tmp /root/dev/shm
must mount -t bpf bpf /root/sys/fs/bpf
# Where the kernel looks for modules that it wants, by /sbin/modprobe of this root, and programs by that of theirs.
release=$(uname -r)
ln -s "/root$tree" "/lib/modules/$release"
mkdir -p "/root/lib/modules/$release"
must mount --bind "/root$tree" "/root/lib/modules/$release"
hostname vm
ifconfig lo up
. /job
stop end
