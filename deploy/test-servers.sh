#!/bin/sh
# Makes sure of the programs the tests drive: an MQTT broker (mosquitto), a browser (Chromium), a D-Bus (dbus-daemon),
# what reads a PDF (poppler-utils), and the databases the cloud can talk to (PostgreSQL, VictoriaMetrics).
# As root on Debian it installs the packages; otherwise it falls back to what fits into .venv, and says what is missing.
set -u
PATH="$PATH:/usr/sbin:/sbin"
missing=""
command -v mosquitto >/dev/null 2>&1 || missing="$missing mosquitto"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium fonts-noto-core"
command -v dbus-daemon >/dev/null 2>&1 || missing="$missing dbus-daemon"
command -v pdftotext >/dev/null 2>&1 || missing="$missing poppler-utils"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v victoria-metrics >/dev/null 2>&1 || missing="$missing victoria-metrics"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing the Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of package names
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
    echo "apt-get failed; trying without."
fi

command -v mosquitto >/dev/null 2>&1 ||
    echo "mosquitto is not installed: the tests use the broker from the package index (iotcore) instead."
command -v dbus-daemon >/dev/null 2>&1 ||
    echo "dbus-daemon is not installed: the tests of Bluetooth devices are skipped."
command -v pdftotext >/dev/null 2>&1 ||
    echo "poppler-utils is not installed: what an installation report says is not read back."
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ||
    echo "postgresql is not installed: the tests on it are skipped, those on SQLite run."
command -v victoria-metrics >/dev/null 2>&1 ||
    echo "victoria-metrics is not installed: the tests of the mirror are skipped."
if ! command -v chromium >/dev/null 2>&1; then
    PLAYWRIGHT_BROWSERS_PATH="$PWD/.venv/browsers" .venv/bin/playwright install chromium >/dev/null 2>&1 ||
        echo "No browser: install Debian's chromium to run the browser tests; they are skipped without one."
fi
exit 0
