# shellcheck shell=bash
# Sourced by scripts/demo, scripts/test, scripts/check and scripts/test-vllm; needs $root, the checkout.
#
#   ready core|dev|vllm    finds a Python, readies the virtual environment, and leaves its folder in $venv
#
# RAIF_VENV    the virtual environment's folder (.venv in the checkout)
# RAIF_PYTHON  the Python that makes it (the first suitable one on the path)

suitable() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1
}

find_python() {
  local candidate
  if [[ -n ${RAIF_PYTHON:-} ]]; then
    if suitable "$RAIF_PYTHON"; then
      printf '%s\n' "$RAIF_PYTHON"
      return
    fi
    printf 'raif: RAIF_PYTHON=%s is not a Python from 3.11 to 3.14\n' "$RAIF_PYTHON" >&2
    return 1
  fi
  for candidate in python3 python python3.14 python3.13 python3.12 python3.11; do
    if suitable "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  printf 'raif: needs a Python from 3.11 to 3.14 on the path; install one, or name one with RAIF_PYTHON\n' >&2
  return 1
}

ready() {
  local python
  python=$(find_python)
  venv=${RAIF_VENV:-$root/.venv}
  [[ $venv == /* ]] || venv=$PWD/$venv
  "$python" -I "$root/scripts/_venv.py" "$venv" "$1"
}
