#!/usr/bin/env bash
# A sweep as an array of Slurm jobs, one GPU each. Submit it from the root of a clone that is built and has the data:
#   npx -y pnpm@12 install && npx -y pnpm@12 build && npx -y pnpm@12 lra generate listops --out data/listops
#   sbatch apps/lra-bench/schedulers/slurm.sh
# Further options of `train` may follow the script's name. Submit it again after a time limit or a failure: finished runs are
# kept, the others go on.
#SBATCH --job-name=lra
#SBATCH --array=1-8
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@120
#SBATCH --requeue
set -euo pipefail

# Slurm sends SIGINT two minutes before the limit; the program saves and ends.
node apps/lra-bench/dist/cli.js train \
  --task "${LRA_TASKS:-listops}" --data "${LRA_DATA:-data/listops}" \
  --mechanism exact,top-k,performer,performer-relu --k 128 --seed 1,2,3 \
  --backend "${LRA_BACKEND:-webgpu}" --out "${LRA_RUNS:-runs}" \
  --shard "${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}" --resume "$@" &
child=$!
trap 'kill -TERM "$child"' INT
# The first wait ends with the signal, the second with the program.
wait "$child" || wait "$child"
