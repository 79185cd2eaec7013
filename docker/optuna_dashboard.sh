#!/bin/sh
# Optuna's dashboard of the searches in PostgreSQL. It has no login of its own: guarded_dashboard.py
# asks for one.
set -eu
here=$(dirname "$0")
. "$here/require.sh"
require DATABASE_PASSWORD_OPTUNA OPTUNA_DASHBOARD_PASSWORD

export OPTUNA_STORAGE="postgresql+psycopg://optuna:$DATABASE_PASSWORD_OPTUNA@${DATABASE_ADDRESS:-postgres:5432}/optuna"
exec env --default-signal=INT gunicorn --chdir "$here" --bind "${HOST:-0.0.0.0}:${PORT:-8080}" \
    --threads 4 --no-control-socket "guarded_dashboard:make_app()"
