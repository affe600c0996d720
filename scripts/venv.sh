# shellcheck shell=bash
# Sourced by scripts/check, test and demo: sets $python to an interpreter that has the project and its extra installed.
# A virtual environment that is already active is used; otherwise .venv in the checkout is made, and kept up to date.

find_python() {
    for name in python3 python3.13 python3.12 python3.11; do
        path=$(command -v "$name") || continue
        "$path" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$path" && return
    done
    echo "Python 3.11 or newer with its venv module is needed (Debian: apt-get install python3-venv)" >&2
    return 1
}

# use_venv EXTRA: EXTRA is "" for what users get, or "dev".
use_venv() {
    local extra=$1 base stamp found
    if [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then
        base=$VIRTUAL_ENV
    else
        base=$PWD/.venv
        if [ ! -x "$base/bin/python" ]; then
            found=$(find_python) && "$found" -m venv "$base" || return 1
        fi
    fi
    python=$base/bin/python
    # The path is part of the stamp because an editable installation names its checkout.
    stamp="$PWD $(sha256sum <pyproject.toml)"
    if ! grep -qxF "dev $stamp" "$base/.pybuild-installed" 2>/dev/null &&
        ! grep -qxF "$extra $stamp" "$base/.pybuild-installed" 2>/dev/null; then
        echo "installing pybuild into $base" >&2
        "$python" -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}" >&2 || return 1
        echo "$extra $stamp" >"$base/.pybuild-installed"
    fi
    export PATH=$base/bin:$PATH
}
