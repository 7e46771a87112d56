#!/usr/bin/env bash
# Runs the steps of the Dockerfile without a Docker engine in a clean temporary folder. Then starts the
# relay, and checks that /livez responds, that the health check passes, and that SIGTERM ends the relay
# with exit code 0. Removes the folder at the end.
#
#   NODE_BINARY=/path/to/node24 scripts/dockerfile-steps.sh
#
# The base image itself is not covered: Node.js is NODE_BINARY, else the one in PATH, and the rest of
# the system is this machine. scripts/dockerfile-build.js lists the other differences.
set -euo pipefail
cd "$(dirname "$0")/.."
node=${NODE_BINARY:-$(command -v node)}
exec timeout --kill-after=30 600 "$node" scripts/dockerfile-steps.js
