#!/bin/sh
# Sets the digests of the images that docker/Dockerfile and compose.yaml take from a registry to what
# their tags are there today:  docker/pin.sh    (then look at git diff, build and try, and commit)
set -eu
cd "$(dirname "$0")/.."
images=$(sed -nE 's/^(FROM| +image:) ([^ @]+:[^ @]+)@sha256:.*/\2/p' docker/Dockerfile compose.yaml)
for image in $images; do
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image") || {
        echo "error: $image: its registry does not say its digest; see that it can be reached" >&2
        exit 3
    }
    case $digest in
        sha256:????????????????????????????????????????????????????????????????) ;;
        *) echo "error: $image: '$digest' is no digest; update docker" >&2; exit 3 ;;
    esac
    sed -i -E "s|$image@sha256:[0-9a-f]{64}|$image@$digest|" docker/Dockerfile compose.yaml
    echo "$image@$digest"
done
