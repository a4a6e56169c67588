//! The frame, in the memory that the driver gave it.

use core::hint::assert_unchecked;

use aya_ebpf::{EbpfContext as _, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use dataplane_common::{Frame, PacketBytes, PacketBytesMut};

pub struct XdpFrame<'a>(pub &'a XdpContext);

impl XdpFrame<'_> {
    /// Where the `N` bytes at `offset` are, if the frame has all of them.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: u32) -> Option<*mut [u8; N]> {
        let mask = 0x3fff_usize;
        // SAFETY: a local. The verifier wants to see a bound, even where the compiler knows one and
        // so would leave it out.
        let mask = unsafe { (&raw const mask).read_volatile() };
        self.bounded(self.0.data() + (offset as usize & mask))
    }

    #[inline(always)]
    fn bounded<const N: usize>(&self, start: usize) -> Option<*mut [u8; N]> {
        // SAFETY: no frame lies there. Otherwise the compiler would keep a comparison for what a
        // reference can never be.
        unsafe { assert_unchecked(start != 0) };
        (start + N <= self.0.data_end()).then_some(start as *mut [u8; N])
    }
}

impl PacketBytes for XdpFrame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: `bounded` has compared with the frame's end, as the verifier checks once more.
        self.at(offset).map(|bytes| unsafe { *bytes })
    }
}

impl PacketBytesMut for XdpFrame<'_> {
    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> bool {
        match self.at(offset) {
            Some(place) => {
                // SAFETY: as in `read`; the frame is this program's alone while it runs.
                unsafe { *place = bytes };
                true
            }
            None => false,
        }
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.0.data_end() - self.0.data()
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        // SAFETY: as in `read`; the borrow ends before the frame is moved or changed.
        self.bounded(self.0.data()).map(|bytes| unsafe { &*bytes })
    }

    #[inline(always)]
    fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        // SAFETY: as in `write` and `head`.
        self.bounded(self.0.data()).map(|bytes| unsafe { &mut *bytes })
    }

    #[inline(always)]
    fn shorten(&mut self, by: i32) -> bool {
        // SAFETY: the context is the kernel's; the frame's bounds are read anew at each access.
        unsafe { bpf_xdp_adjust_head(self.0.as_ptr().cast(), by) == 0 }
    }
}
