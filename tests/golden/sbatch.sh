#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --array=0-5%6
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=2
#SBATCH --exclude='node[3-4]'
#SBATCH --gpus-per-node=1
#SBATCH --job-name=demo-baseline.NONCE
#SBATCH --mail-type=FAIL,TIME_LIMIT
#SBATCH --mail-user=me@example.org
#SBATCH --mem=8192M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=SUBMISSION/arrays/0001/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=90

# setup
trap : USR2  # some sites signal this shell too, which would end it
export WORDS='it'"'"'s two'
module load cuda
source .venv/bin/activate
umask 007
job="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
rm -f SUBMISSION/arrays/0001/"$job"_*.save_tmp
[ -e SUBMISSION/arrays/0001/"$job"_submitted.pkl ] || cp SUBMISSION/arrays/0001/element.pkl SUBMISSION/arrays/0001/"$job"_submitted.pkl
export EMPSLURM_ARRAY=SUBMISSION/arrays/0001.json EMPSLURM_JOB_NAME="$SLURM_JOB_NAME"
export EMPSLURM_LOG=SUBMISSION/arrays/0001/"$job"_0_log.out
export PYTHONPATH=/code PYTHONSAFEPATH=1
cd /code || { echo 'the copy of the code must be there, but is gone; submit again'; exit 1; }

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output SUBMISSION/arrays/0001/%A_%a_%t_log.out --cpus-per-task 2 PYTHON -u -m submitit.core._submit SUBMISSION/arrays/0001
