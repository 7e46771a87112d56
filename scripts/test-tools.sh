#!/usr/bin/env bash
# Installs what the tests run beside Node: strace, with which they watch and break system calls, and
# redis-server, of which they start their own.
# Quiet where it is there. Where it cannot be installed it says what to do, and the tests that need
# it fail with the same words. Run by `npm test`.
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
echo "could not install ${missing[*]}: install it (apt-get install ${missing[*]}) for the tests of syncs, disk faults and Redis" >&2
