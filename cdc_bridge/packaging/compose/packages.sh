#!/bin/sh
# Installs cdc-bridge from a checkout, with what its receiver needs, and makes the folder that "receive --keep" reads:
# RECEIVER_SECRET, and a certificate, which is made once. For docker-compose.yml, where all three are volumes.
#
#   packages.sh CHECKOUT VIRTUAL_ENVIRONMENT KEPT
set -eu
checkout=$1 environment=$2 kept=$3

python -m venv "$environment"

# The versions that the tests run with. Without their hashes: pip would want one of the checkout, too.
constraints=$(mktemp)
sed -n '/^[a-z]/s/ *\\$//p' "$checkout/requirements-dev.lock" > "$constraints"

# What builds the package is installed first and not in isolation, where it would be downloaded with every "up".
pip() { "$environment/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install --constraint "$constraints" hatchling
pip install --constraint "$constraints" --no-build-isolation "$checkout[receive]"

echo "$RECEIVER_SECRET" > "$kept/secret"
if [ ! -e "$kept/ca.pem" ]; then
  "$environment/bin/python" -m trustme --quiet --dir "$kept" --identities receiver localhost
  mv "$kept/client.pem" "$kept/ca.pem"
fi
