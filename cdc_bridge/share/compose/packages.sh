#!/bin/sh
# Installs cdc-bridge from a checkout, with what its receiver needs, and makes the receiver's certificate, once. For
# docker-compose.yml, where all three are volumes.
#
#   packages.sh CHECKOUT VIRTUAL_ENVIRONMENT CERTIFICATES
set -eu
checkout=$1 environment=$2 certificates=$3

python -m venv "$environment"

# The versions that the tests run with. Without their hashes: pip would want one of the checkout, too.
constraints=$(mktemp)
sed -n '/^[a-z]/s/ *\\$//p' "$checkout/requirements-dev.lock" > "$constraints"

# What builds the package is installed first and not in isolation, where it would be downloaded with every "up".
pip() { "$environment/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install --constraint "$constraints" hatchling standardwebhooks trustme
pip install --constraint "$constraints" --no-build-isolation "$checkout"

if [ ! -e "$certificates/ca.pem" ]; then
  "$environment/bin/python" -m trustme --quiet --dir "$certificates" --identities receiver localhost
  mv "$certificates/client.pem" "$certificates/ca.pem"
fi
