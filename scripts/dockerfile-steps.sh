#!/usr/bin/env bash
# Runs the Dockerfile's steps without a Docker engine, in a clean temporary folder, then starts
# what comes out: is it alive, does the health check pass, does SIGTERM end it well? Cleans up.
#
#   NODE_BINARY=/path/to/node24 scripts/dockerfile-steps.sh
#
# Not covered: the base image itself. Node is NODE_BINARY, or else the one on the PATH, and the
# rest of the system is this machine. scripts/dockerfile-steps.js says what else differs.
set -euo pipefail
cd "$(dirname "$0")/.."
node=${NODE_BINARY:-$(command -v node)}
exec timeout --kill-after=30 600 "$node" scripts/dockerfile-steps.js
