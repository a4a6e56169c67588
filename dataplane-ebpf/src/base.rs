//! What every object of this crate needs besides its programs.

/// Read by the loader. The helpers in use do not all demand it, but the sources may be used under
/// the GPL too, and the kernel asks in its own terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses loops without an end: this proves that no panic is left in the object.
    loop {}
}
