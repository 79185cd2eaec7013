#!/bin/sh
# A worker of the team, or what prepares the server for all of them:
#
#     docker/worker.sh cpu | gpu 0 | bootstrap
#
# It works in a checkout of its own, CHECKOUT, which must outlast it: data, caches, checkpoints and
# dvc.lock are there. The code in it is the last commit of REPOSITORY.
set -eu
. "$(dirname "$0")/require.sh"
require DATABASE_PASSWORD_OPTUNA PREFECT_PASSWORD MLFLOW_TRACKING_PASSWORD

checkout=${CHECKOUT:-/checkout}
repository=${REPOSITORY:-/repository}
export PREFECT_API_URL="${PREFECT_API_URL:-http://prefect:4200/api}"
export PREFECT_API_AUTH_STRING="admin:$PREFECT_PASSWORD"
export MLFLOW_TRACKING_URI="${MLFLOW_TRACKING_URI:-http://mlflow:5000}"
export MLFLOW_TRACKING_USERNAME="${MLFLOW_TRACKING_USERNAME:-admin}"
export DIFFUSEVAE_OPTUNA_STORAGE="postgresql+psycopg://optuna:$DATABASE_PASSWORD_OPTUNA@${DATABASE_ADDRESS:-postgres:5432}/optuna"

commit=$(git --git-dir="$repository" rev-parse HEAD)
if [ ! -e "$checkout/.git" ]; then
    git clone --quiet --no-hardlinks "$repository" "$checkout"
    git -C "$checkout" remote remove origin   # nothing is pushed into an image
fi
cd "$checkout"
if [ "$(git rev-parse HEAD)" != "$commit" ]; then
    # A dvc.lock of this worker's own is overwritten: the branch reruns/... and DVC's run cache
    # have what it says.
    git fetch --quiet "$repository" HEAD
    git checkout --quiet --force --detach "$commit"
fi
export PYTHONPATH="$checkout:$checkout/src"
if [ "$*" = bootstrap ]; then
    exec python -m diffusevae bootstrap
fi
if [ -n "${DVC_REMOTE:-}" ]; then   # what one worker has made, no other makes again
    dvc remote add --quiet --local --force --default store "$DVC_REMOTE"
fi
exec env --default-signal=INT python -m diffusevae worker "$@"
