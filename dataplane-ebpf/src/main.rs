//! The kernel half of nearwire. It runs `dataplane_common::verdict` on every packet of the tunnel
//! interface; this crate only lends it the packet, the maps and the clock.
#![no_std]
#![no_main]

mod maps;
mod packet;
mod policy;
mod state;

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
