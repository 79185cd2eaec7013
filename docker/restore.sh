#!/bin/sh
# Reads from its standard input what backup.sh wrote. The databases become what they were then; no
# service may use them meanwhile. Artifacts made since stay in the bucket.
set -eu
here=$(dirname "$0")
: "${PGPASSWORD:?is empty; set POSTGRES_PASSWORD in .env}"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tar -C "$folder" -xf -
for name in prefect mlflow mlflow_auth optuna; do
    [ -f "$folder/$name.dump" ] || { echo "error: $name.dump: is not in the backup; give the whole file" >&2; exit 2; }
done
"$here/databases.sh"
for name in prefect mlflow mlflow_auth optuna; do
    pg_restore --clean --if-exists --create --exit-on-error \
        --username "${POSTGRES_USER:-postgres}" --dbname postgres "$folder/$name.dump"
done
python "$here/bucket.py" load "$folder/bucket"
