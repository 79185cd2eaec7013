#!/bin/sh
# As PostgreSQL's own image starts: a new cluster runs what is in /docker-entrypoint-initdb.d.
set -eu
[ "$1" = postgres ] || exec "$@"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    (umask 077; printf %s "$POSTGRES_PASSWORD" > /tmp/password)
    initdb --username postgres --auth-local trust --auth-host scram-sha-256 --encoding UTF8 \
        --locale C.UTF-8 --pwfile /tmp/password
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses= -c unix_socket_directories=/tmp" start
    for script in /docker-entrypoint-initdb.d/*; do "$script"; done
    pg_ctl --wait --mode fast stop
fi
exec "$@" -c "listen_addresses=*" -c unix_socket_directories=/tmp
