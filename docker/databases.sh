#!/bin/sh
# Makes one database and one role for each service, each with a password of its own. Again, it only
# sets the passwords anew: so it is also how a password is changed.
#
# PostgreSQL's image runs it when it starts for the first time; elsewhere, PGHOST, PGPORT and
# PGPASSWORD say where the cluster is, for the superuser named by POSTGRES_USER.
set -eu

: "${DATABASE_PASSWORD_PREFECT:?is empty; set it in .env}"
: "${DATABASE_PASSWORD_MLFLOW:?is empty; set it in .env}"
: "${DATABASE_PASSWORD_MLFLOW_AUTH:?is empty; set it in .env}"
: "${DATABASE_PASSWORD_OPTUNA:?is empty; set it in .env}"

sql() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$1"
}

for name in prefect mlflow mlflow_auth optuna; do
    # \getenv keeps passwords out of the list of processes.
    sql postgres <<SQL
\set name $name
\getenv password DATABASE_PASSWORD_$(echo "$name" | tr '[:lower:]' '[:upper:]')
SELECT format('CREATE ROLE %I LOGIN', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
echo 'CREATE EXTENSION IF NOT EXISTS pg_trgm;' | sql prefect   # Prefect searches names with it
