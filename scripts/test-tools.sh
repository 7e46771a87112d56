#!/usr/bin/env bash
# Installs the programs that some tests run: strace observes and breaks system calls, redis-server
# runs in a process for each test, and openssl creates certificates. Prints nothing if all of them are
# installed, and exits non-zero if it cannot install them.
# .ci/run and the workflows run this script; `npm test` skips tests whose program is missing.
set -euo pipefail

tools=(strace redis-server openssl)
missing=()
for tool in "${tools[@]}"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
((${#missing[@]} == 0)) && exit 0

as_root=()
if ((EUID != 0)); then as_root=(sudo -n); fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if command -v apt-get >/dev/null &&
  "${as_root[@]}" apt-get update -q >"$log" 2>&1 &&
  "${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
  exit 0
fi
cat "$log" >&2
echo "could not install ${missing[*]}: tests that need it will be skipped" >&2
exit 1
