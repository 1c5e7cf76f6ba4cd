#!/bin/sh
# A SLURM of one node on this machine, for tests: Debian's packages, no systemd, no cgroups. Needs root.
#
#     sh tests/slurm/start.sh [FOLDER]      # then: export SLURM_CONF=FOLDER/slurm.conf
#     sh tests/slurm/stop.sh [FOLDER]
set -eu
folder=${1:-/tmp/rarecell-slurm}
command -v slurmctld >/dev/null && command -v munged >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
}
mkdir -p "$folder/state" "$folder/spool" /run/munge /var/log/munge
chown munge:munge /run/munge /var/log/munge
[ -f /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 2>/dev/null; }
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
munge -n >/dev/null 2>&1 || runuser -u munge -- /usr/sbin/munged
host=$(hostname -s)
# Two GPUs on paper: files that stand for devices, so that requests for them can be tested.
touch "$folder/gpu0" "$folder/gpu1"
printf 'Name=gpu File=%s\n' "$folder/gpu0" "$folder/gpu1" >"$folder/gres.conf"
cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
KillWait=20
MinJobAge=600
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
GresTypes=gpu
NodeName=localhost NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$(nproc) Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$folder/slurm.conf"
slurmctld -c
slurmd -N localhost
for _ in $(seq 30); do
    [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && { echo "export SLURM_CONF=$SLURM_CONF"; exit 0; }
    sleep 1
done
echo "the node did not come up; see $folder/slurmctld.log and $folder/slurmd.log" >&2
tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
exit 1
