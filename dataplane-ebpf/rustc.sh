#!/bin/sh
# RUSTC_WRAPPER of `cargo xtask build-ebpf`. Cargo mixes the directory and the flags into each
# crate's `-C metadata`, and the compiler mixes that into symbol names and the order of functions.
# Naming the kernel's crates by their names alone makes the object the same in any directory.
rustc=$1
shift
case " $* " in
*" --target bpfel-unknown-none "*) ;;
*) exec "$rustc" "$@" ;;
esac
previous=
crate=
for argument in "$@"; do
    [ "$previous" = --crate-name ] && crate=$argument
    previous=$argument
done
count=$#
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    case $argument in
    metadata=*) argument=metadata=$crate ;;
    esac
    set -- "$@" "$argument"
    count=$((count - 1))
done
exec "$rustc" "$@"
