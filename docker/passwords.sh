#!/bin/sh
# Prints .env.example with a random password wherever one is missing:  docker/passwords.sh > .env
set -eu
while IFS= read -r line; do
    case $line in
        [A-Z]*=) echo "$line$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')" ;;
        *) echo "$line" ;;
    esac
done < "$(dirname "$0")/../.env.example"
