#!/bin/bash
# stop.sh DIR: end the Slurm of start.sh; only processes that it has started, by their ids.
for file in slurmctld.pid slurmd.pid munge/pid; do
  [[ -f $1/$file ]] && kill "$(cat "$1/$file")" 2>/dev/null
done
exit 0
