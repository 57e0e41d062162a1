#!/usr/bin/env bash
# Set PZ2 up (its own environment, packages, base model) and start it: no word opens the fine-tuning menu,
# `chat` the chat, `test` the tests, `setup` installs everything in one go, any other word is a fine-tuning command.
set -eu

# The project's folder, also when this file is called through a link.
script="${BASH_SOURCE[0]}"
while [ -L "$script" ]; do
    folder="$(cd -P "$(dirname "$script")" && pwd)"
    script="$(readlink "$script")"
    case "$script" in /*) ;; *) script="$folder/$script" ;; esac
done
project="$(cd -P "$(dirname "$script")" && pwd)"
environment="${PZ2_VENV:-$project/.venv}"

# A finished environment starts itself: nothing is searched for and nothing is downloaded.
if [ -f "$environment/pz2-ready.json" ] && [ -x "$environment/bin/python" ]; then
    exec "$environment/bin/python" "$project/setup_environment.py" "$@"
fi

for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$name" "$project/setup_environment.py" "$@"
    fi
done
echo "PZ2 needs Python 3.11 or newer, and none was found. Install it (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python) and start again." >&2
exit 2
