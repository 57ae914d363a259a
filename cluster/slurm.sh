#!/usr/bin/env bash
# Slurm: one sweep as one job. Ray starts on all its nodes, the sweep runs on the first of them, and both
# end together. README.md has the commands.
#
#     sbatch cluster/slurm.sh +sweep=attention_heads store=$HOME/sweeps run=night-1
#
# Whole nodes: Ray's ports inside have no user of their own, and `ray stop` ends every Ray that you have
# on a node.
#SBATCH --job-name=jamba-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=04:00:00
# Two minutes before its time is up the sweep saves its state, and the job queues again and continues.
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
umask 077
ulimit -c 0

: "${SLURM_JOB_ID:?must be set: start it with sbatch cluster/slurm.sh +sweep=... store=... run=...}"
[[ " $* " == *" run="* && " $* " == *" store="* ]] || {
  echo "error: run= and store= must be given, because a job that queues again continues this run." >&2
  exit 64
}
# An environment of requirements.lock in a folder that all nodes share.
export PATH="${JAMBA_RAY_ENV:-$HOME/jamba_ray-env/venv}/bin:$PATH"
[[ -s ~/.ray/auth_token ]] || {
  echo "error: ~/.ray/auth_token must hold the cluster's token: jamba-ray doctor doctor.make_token=true" >&2
  exit 69
}
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Ray takes a while to import from a shared disk.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}"
# Of this job alone; sockets need a short path.
export RAY_TMPDIR="/tmp/jr-$SLURM_JOB_ID"
unset RAY_ADDRESS

# This script runs on the job's first node. Set JAMBA_RAY_HEAD_IP where the others reach it by another
# address than its first one.
read -r first _ < <(hostname -I)
address="${JAMBA_RAY_HEAD_IP:-$first}:6379"
# In the home folder, which all nodes share: it is written when all of them have joined.
mkdir -p -m 700 ~/.jamba_ray
pid_file="$HOME/.jamba_ray/slurm-$SLURM_JOB_ID.pid"
rm -f "$pid_file"

# The sweep saves its state on SIGTERM; Ray must outlive it, so that the sweep alone gets the signal.
stop() {
  stopped=1
  if [[ -s $pid_file ]]; then kill -TERM "$(<"$pid_file")" || true; else kill -TERM "$step" || true; fi
}

# A node whose Ray finds the head's too slow gives up with exit code 0; it tries again until the sweep
# has begun.
# shellcheck disable=SC2016
srun --ntasks-per-node=1 --kill-on-bad-exit=0 bash -c '
  pid_file="$1"
  shift
  for attempt in 1 2 3 4 5; do
    "$@"
    code=$?
    [[ $code != 0 || -s $pid_file ]] && exit $code
    echo "$(hostname): Ray did not start, attempt $attempt of 5"
  done
  exit 69' node "$pid_file" \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --dashboard-host=127.0.0.1 -- \
  bash -c 'echo $$ > "$0"; export RAY_ADDRESS="$1"; shift; exec python -m jamba_ray.sweep "$@"' \
  "$pid_file" "$address" "$@" resume=true &
step=$!
trap stop TERM
stopped=1
while [[ $stopped == 1 ]]; do  # a signal ends `wait`, not the step
  stopped=0 code=0
  wait "$step" || code=$?
done
rm -f "$pid_file"
srun --ntasks-per-node=1 rm -rf "$RAY_TMPDIR" || true

# 75: interrupted with its state saved.
if [[ $code == 75 && ${SLURM_RESTART_COUNT:-0} -lt 20 ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
