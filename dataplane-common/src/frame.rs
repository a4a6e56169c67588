//! Frames of the kernel machine's small stack.

const NOTHING: u64 = u64::MAX;

/// Does `work` in a stack frame of its own.
///
/// The kernel's programs have 512 bytes of stack, which calls one after another share but inlined
/// code does not. A plain function that is not inlined would do, but for its signature: the kernel
/// reads it as BTF, and refuses enums that carry data; the closure hides them. And only a number
/// comes back, for the verifier objects to moving the part of an enum that was never written.
#[inline(always)]
pub fn in_own_frame(mut work: impl FnMut() -> Option<u64>) -> Option<u64> {
    let mut made = NOTHING;
    frame(&mut || {
        made = match work() {
            Some(number) => number,
            None => NOTHING,
        }
    });
    if made == NOTHING { None } else { Some(made) }
}

#[inline(never)]
fn frame(work: &mut impl FnMut()) {
    work();
}

/// As [`in_own_frame`], for work that captures nothing but has one subject: the caller's frame then
/// holds nothing of it.
#[inline(always)]
pub fn in_frame_of<T>(subject: &mut T, work: impl FnOnce(&mut T) -> Option<u64>) -> Option<u64> {
    let made = frame_of(subject, work);
    if made == NOTHING { None } else { Some(made) }
}

#[inline(never)]
fn frame_of<T>(subject: &mut T, work: impl FnOnce(&mut T) -> Option<u64>) -> u64 {
    match work(subject) {
        Some(number) => number,
        None => NOTHING,
    }
}
