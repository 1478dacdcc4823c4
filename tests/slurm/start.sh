#!/bin/bash
# start.sh DIR: a Slurm of one node of two CPUs, all of it in DIR, on free ports, as root. `export SLURM_CONF=DIR/slurm.conf` uses it,
# stop.sh DIR ends it. Needs slurm-wlm and munge of Debian.
set -euo pipefail
dir=$(realpath "$1")
node=$(hostname -s)
mkdir -p "$dir"/{state,spool,log,munge}
chmod 700 "$dir/munge"
read -r port1 port2 < <(python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets:
    s.bind(("", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
)
head -c 1024 /dev/urandom > "$dir/munge/key"
chmod 400 "$dir/munge/key"
cat > "$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$port1
SlurmdPort=$port2
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=requeue_setup_env_fail
ReturnToService=2
MpiDefault=none
KillWait=2
SwitchType=switch/none
JobRequeue=1
MinJobAge=300
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
  --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
export SLURM_CONF="$dir/slurm.conf"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$node"
for _ in $(seq 100); do
  state=$(sinfo -h -o %T 2>/dev/null || true)
  [[ $state == idle* ]] && exit 0
  sleep 0.2
done
echo "Slurm does not come up: ${state:-no answer}" >&2
tail -5 "$dir"/log/*.log >&2
exit 1
