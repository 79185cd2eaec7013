#!/bin/sh
# Writes all databases and artifacts as one tar file to its standard output. Services may run.
set -eu
here=$(dirname "$0")
: "${PGPASSWORD:?is empty; set POSTGRES_PASSWORD in .env}"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for name in prefect mlflow mlflow_auth optuna; do
    pg_dump --format custom --username "${POSTGRES_USER:-postgres}" --file "$folder/$name.dump" "$name"
done
# After the databases: so each file that they name is there.
python "$here/bucket.py" save "$folder/bucket"
tar -C "$folder" -cf - .
