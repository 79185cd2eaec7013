#!/bin/sh
# As SeaweedFS's own image starts its server.
set -eu
[ "$1" = server ] || exec weed "$@"
shift
exec weed -logtostderr=true server -dir=/data -volume.max=0 -master.volumePreallocate \
    -master.volumeSizeLimitMB=1024 "$@"
