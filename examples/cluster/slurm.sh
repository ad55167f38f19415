#!/bin/bash
# Two machines of eight GPUs each: sbatch examples/cluster/slurm.sh
#SBATCH --job-name=ltm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

run=runs/stories # on a file system that all machines see
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=4

command="ltm train --data stories.jsonl --out $run --preset small --batch 256 --device cuda --quiet"
if [ -e $run/config.json ]; then
    command="ltm train --resume --out $run --device cuda --quiet"
fi

# What torchrun would set. srun passes the exit code on; torchrun's own is 1, whatever happened.
srun --kill-on-bad-exit=1 bash -c "RANK=\$SLURM_PROCID LOCAL_RANK=\$SLURM_LOCALID WORLD_SIZE=\$SLURM_NTASKS exec $command"

# 128 + SIGTERM: saved before the time was up, and not done yet.
[ $? -eq 143 ] && scontrol requeue "$SLURM_JOB_ID"
