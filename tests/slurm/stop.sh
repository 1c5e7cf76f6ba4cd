#!/bin/sh
# Stops what start.sh started; munged is left to whoever else uses it.
folder=${1:-/tmp/rarecell-slurm}
export SLURM_CONF="$folder/slurm.conf"
scancel --full --user="$(id -un)" 2>/dev/null
for daemon in slurmd slurmctld; do
    [ -f "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")"
done
exit 0
