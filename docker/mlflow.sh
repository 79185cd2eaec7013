#!/bin/sh
# MLflow's tracking server: runs and logins in PostgreSQL, artifacts in an S3 store that only this
# server has the keys of, a login asked of everyone.
set -eu
here=$(dirname "$0")
. "$here/require.sh"
require DATABASE_PASSWORD_MLFLOW DATABASE_PASSWORD_MLFLOW_AUTH MLFLOW_AUTH_ADMIN_PASSWORD \
    MLFLOW_FLASK_SERVER_SECRET_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

databases=${DATABASE_ADDRESS:-postgres:5432}
umask 077
# Hashing a password takes longer than most answers: a login that was right is taken for a minute.
MLFLOW_AUTH_CONFIG_PATH=$(mktemp)
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = postgresql+psycopg://mlflow_auth:$DATABASE_PASSWORD_MLFLOW_AUTH@$databases/mlflow_auth
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI
export MLFLOW_AUTH_CONFIG_PATH
export MLFLOW_AUTH_ADMIN_USERNAME="${MLFLOW_AUTH_ADMIN_USERNAME:-admin}"
# In the environment, where the list of processes does not show them.
export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://mlflow:$DATABASE_PASSWORD_MLFLOW@$databases/mlflow"
export S3_BUCKET="${S3_BUCKET:-mlflow}"
export MLFLOW_ARTIFACTS_DESTINATION="s3://$S3_BUCKET"
export MLFLOW_S3_ENDPOINT_URL="${MLFLOW_S3_ENDPOINT_URL:-http://s3:8333}"
export AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-us-east-1}"
# Not every S3 store knows the check sums that boto3 adds by default.
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required
# Who calls it by another name is refused, so that no web page can reach it through a browser.
export MLFLOW_SERVER_ALLOWED_HOSTS="${MLFLOW_SERVER_ALLOWED_HOSTS:-localhost:*,127.0.0.1:*,mlflow:*}"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false   # eight idle helper processes otherwise
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

python "$here/bucket.py" make
# A process of it that a busy machine keeps from answering within 5 s would be taken for dead.
# Started in the background of a script it would ignore SIGINT.
exec env --default-signal=INT python "$here/mlflow_server.py" server --app-name basic-auth \
    --host "${HOST:-0.0.0.0}" --port "${PORT:-5000}" --workers "${WORKERS:-2}" \
    --uvicorn-opts "--timeout-worker-healthcheck 60"
