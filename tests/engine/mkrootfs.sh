#!/usr/bin/env bash
# Writes the files of a small image, as tar, to stdout: `busybox`; `python`, which
# is busybox and this machine's own Python with its standard library; or `python`
# and a folder of packages, which are in `/opt/packages` then. No image need be
# fetched from anywhere.
set -euo pipefail
kind=$1
packages=${2:-}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

copy_busybox() {
    mkdir -p "$root"/{bin,etc,proc,sys,dev,run,root,tmp,usr/bin}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    chroot "$root" /bin/busybox --install -s /bin
    printf '%s\n' root:x:0:0::/root:/bin/sh \
        nobody:x:65534:65534::/:/bin/false >"$root/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
}

copy_file() {
    mkdir -p "$root$(dirname "$1")"
    cp --dereference "$1" "$root$1"
}

# A Python of a virtual environment is a link to the one that is wanted.
copy_python() {
    local python library
    python=$(python3 -c 'import os, sys
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))')
    library=$("$python" -c 'import sysconfig
print(sysconfig.get_path("stdlib"))')
    copy_file "$python"
    ln -s "$python" "$root/bin/python3"
    mkdir -p "$root$library"
    tar -C "$library" --exclude=__pycache__ --exclude=test \
        --exclude=idlelib --exclude=tkinter --exclude=lib2to3 \
        --exclude=ensurepip --exclude='config-*' --exclude=site-packages \
        --exclude=dist-packages -cf - . | tar -C "$root$library" -xf -
    copy_libraries "$python" "$library"/lib-dynload/*.so
}

copy_packages() {
    mkdir -p "$root/opt/packages"
    tar -C "$packages" --exclude=__pycache__ --exclude=tests -cf - . |
        tar -C "$root/opt/packages" -xf -
    find "$packages" -name '*.so*' | while read -r file; do
        copy_libraries "$file"
    done
}

# Those of the packages themselves lie beside what needs them.
copy_libraries() {
    { ldd "$@" 2>/dev/null || true; } |
        grep -oE '/[^ ]+\.so[^ ]*' | grep -v ':$' | sort -u |
        while read -r file; do
            case $file in
            "${packages:-/nowhere}"/*) ;;
            *) copy_file "$file" ;;
            esac
        done
}

copy_busybox
if [ "$kind" = python ]; then copy_python; fi
if [ -n "$packages" ]; then copy_packages; fi
tar -C "$root" --numeric-owner -cf - .
