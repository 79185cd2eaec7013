#!/bin/sh
# Prefect's server: its data in PostgreSQL, a login asked of everyone.
set -eu
. "$(dirname "$0")/require.sh"
require DATABASE_PASSWORD_PREFECT PREFECT_PASSWORD

export PREFECT_SERVER_DATABASE_CONNECTION_URL="postgresql+asyncpg://prefect:$DATABASE_PASSWORD_PREFECT@${DATABASE_ADDRESS:-postgres:5432}/prefect"
export PREFECT_SERVER_API_AUTH_STRING="admin:$PREFECT_PASSWORD"
export PREFECT_API_AUTH_STRING="$PREFECT_SERVER_API_AUTH_STRING"   # its own services log in too
# Its own pages alone, by either of their names, may call it from a browser.
page=${PREFECT_SERVER_UI_API_URL:-http://127.0.0.1:4200/api}
page=${page%/api}
export PREFECT_UI_URL="$page"   # in alerts
export PREFECT_SERVER_CORS_ALLOWED_ORIGINS="$page,$(printf %s "$page" | sed 's|//127\.0\.0\.1|//localhost|')"
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=true
export PREFECT_API_BLOCKS_REGISTER_ON_START=false
unset PREFECT_API_URL
# Who holds a slot, as each run of a deployment does, is in its memory by default: a restart would
# crash all that run.
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem
# It copies its pages as it starts: not into its own package, for an image's root is read-only.
export PREFECT_UI_STATIC_DIRECTORY="${PREFECT_HOME:-$HOME/.prefect}/ui"
# Prefect turns TERM into INT, which a job in the background of a script would ignore.
exec env --default-signal=INT prefect server start --host "${HOST:-0.0.0.0}" --port "${PORT:-4200}"
