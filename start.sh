#!/bin/sh
# Set up and start Resonance without make.
#   ./start.sh              set up, then open JupyterLab at the first lesson
#   ./start.sh --setup      set up only (what `make setup` does)
#   ./start.sh --rehearsal  set up, then run all ten lessons on the sample (`make rehearsal`)
#   ./start.sh --test       set up, then run the tests (`make test`)
# PYTHON=python3.12 chooses the interpreter, VENV=folder the environment, TORCH=cpu, cu126 or cu130 the build of PyTorch
# (lesson 03 says which one fits; without it pip decides). A PyTorch that already works on this machine's GPU is kept.
# shellcheck disable=SC2086  # options that may be empty are left unquoted
set -eu
cd "$(dirname "$0")"
VENV=${VENV:-.venv}

say() { printf '%s\n' "$*" >&2; }

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if supported "$python"; then
            echo "$python"
            return
        fi
    done
    say "没有找到 Python 3.11–3.13（试过：${PYTHON:-python3 python3.13 python3.12 python3.11 python}）。请先安装，例如 Ubuntu：sudo apt install python3.12 python3.12-venv；或用 PYTHON=/路径/python3.12 指定。"
    say "No Python 3.11–3.13 was found. Install one (Ubuntu: sudo apt install python3.12 python3.12-venv) or name it: PYTHON=/path/to/python3.12"
    exit 1
}

# A GPU server's image often brings a PyTorch made for its driver: several GB that must not be replaced by another build.
working_gpu_torch() {
    "$1" -c 'import torch; torch.ones(1, device="cuda"); print(torch.__version__)' 2>/dev/null || true
}

wanted() { cat pyproject.toml constraints.txt && echo "$1 ${TORCH:-}"; }

setup() {
    quiet=$([ -t 1 ] || echo -qq) # a person sees what pip does, a log only its errors
    python=$(find_python)
    kept_torch=$(working_gpu_torch "$python")
    stamp=$(wanted "$kept_torch" | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    if [ "$(cat "$VENV/.resonance-setup" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    if [ ! -x "$VENV/bin/python" ]; then
        "$python" -m venv ${kept_torch:+--system-site-packages} "$VENV" || {
            rm -rf "$VENV"
            say "没能建立虚拟环境。Debian / Ubuntu 请先运行：sudo apt install python3-venv"
            say "The virtual environment could not be made. On Debian / Ubuntu first run: sudo apt install python3-venv"
            exit 1
        }
    fi
    say "正在安装（第一次需要几分钟）…… / Installing (minutes the first time) …"
    "$VENV/bin/python" -m pip install $quiet --upgrade pip
    constraints=constraints.txt
    if [ -n "$kept_torch" ]; then
        say "保留这台机器上能用显卡的 PyTorch $kept_torch。/ Keeping this machine's working PyTorch $kept_torch."
        constraints="$VENV/constraints.txt"
        { grep -v '^torch==' constraints.txt && echo "torch==$kept_torch"; } >"$constraints"
    elif [ -n "${TORCH:-}" ]; then
        "$VENV/bin/python" -m pip install $quiet -c constraints.txt "torch==$(sed -n "s/^torch==//p" constraints.txt)+$TORCH" --index-url "https://download.pytorch.org/whl/$TORCH"
    fi
    "$VENV/bin/python" -m pip install $quiet -c "$constraints" -e ".[serve,export,test]"
    echo "$stamp" >"$VENV/.resonance-setup"
    say "安装好了。/ Installed."
}

case "${1:-}" in
--setup) setup ;;
--rehearsal)
    setup
    exec "$VENV/bin/resonance" run --output "rehearsal/$(date +%Y%m%d-%H%M%S)"
    ;;
--test)
    setup
    exec "$VENV/bin/python" -m pytest
    ;;
"")
    setup
    # JupyterLab plays only what lies in its own folder, so that is the whole project: recordings are not in notebooks/.
    # On a rented server the user is root, for whom it would not start.
    allow_root=$([ "$(id -u)" -ne 0 ] || echo --allow-root)
    exec "$VENV/bin/jupyter" lab notebooks/01_check_gpu.ipynb --ServerApp.root_dir=. $allow_root
    ;;
*)
    say "./start.sh [--setup | --rehearsal | --test]"
    exit 2
    ;;
esac
