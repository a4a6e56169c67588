//! Lets the switch of lanes read and write whole words of a frame, whose IP header never is
//! aligned: otherwise each byte costs a load and a shift of its own.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=lanes=--cpu-features=+allows-misaligned-mem-access");
}
