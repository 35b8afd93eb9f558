#!/bin/sh
# Finds or installs a Chromium for the browser tests: the system's own, else Debian's package, else Playwright's.
# Usage: install_chromium.sh PYTHON
set -u
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1; then
  SUDO=""
  [ "$(id -u)" -eq 0 ] || SUDO="sudo -n"
  echo "Installing chromium with apt-get for the browser tests ..."
  # shellcheck disable=SC2086 - SUDO is a command and its option, or nothing
  $SUDO apt-get install -y -qq chromium >/dev/null 2>&1 ||
    { $SUDO apt-get update -qq && $SUDO apt-get install -y -qq chromium; } >/dev/null 2>&1
  command -v chromium >/dev/null 2>&1 && exit 0
  echo "apt-get could not install it; trying Playwright's own browser ..."
fi
"$1" -m playwright install chromium && exit 0
echo "No Chromium for the browser tests: install the package chromium, or run '$1 -m playwright install --with-deps chromium'." >&2
exit 1
