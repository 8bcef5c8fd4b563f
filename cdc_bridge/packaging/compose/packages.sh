#!/bin/sh
# Installs cdc-bridge from a checkout, with the dependencies of its receiver, and creates the folder for "receive --keep":
# RECEIVER_SECRET, and a certificate that is issued once. For docker-compose.yml, where all three are volumes.
#
#   packages.sh CHECKOUT VIRTUAL_ENVIRONMENT KEPT
set -eu
checkout=$1 environment=$2 kept=$3

python -m venv "$environment"

# The versions that the tests run with, without hashes: pip would require one of the checkout too.
constraints=$(mktemp)
sed -n '/^[a-z]/s/ *\\$//p' "$checkout/requirements-dev.lock" > "$constraints"

# The build backend is installed first and without isolation, which would download it with every "up".
pip() { "$environment/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install --constraint "$constraints" hatchling
pip install --constraint "$constraints" --no-build-isolation "$checkout[receive]"

echo "$RECEIVER_SECRET" > "$kept/secret"
if [ ! -e "$kept/ca.pem" ]; then
  "$environment/bin/python" -m trustme --quiet --dir "$kept" --identities receiver localhost
  mv "$kept/client.pem" "$kept/ca.pem"
fi
