//! An array map in memory that the kernel's programs share.
#![allow(unsafe_code, reason = "memory is mapped and shared by system calls")]

use std::{
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::{Error, error::chain};

/// The words of an array, which may change at any time.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory is shared with the kernel anyhow, belongs to no thread, and is only reached by
// atomic words.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps an array of so many words in all, that was made to be mapped.
    pub(crate) fn of(name: &'static str, map: impl AsFd, words: usize) -> Result<Self, Error> {
        let failed = |reason| Error::Map { map: name, action: "map into memory", reason };
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        let fd = map.as_fd();
        let length = words * size_of::<AtomicU64>();
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let mapped = unsafe { mmap(ptr::null_mut(), length, flags, MapFlags::SHARED, fd, 0) };
        let start = mapped.map_err(|error| failed(chain(&error)))?;
        let start =
            NonNull::new(start.cast()).ok_or_else(|| failed("it has no address".to_owned()))?;
        Ok(Self { start, words })
    }

    /// The words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is so long, stays as long as this, and is only used by atomic words.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let length = self.words * size_of::<AtomicU64>();
        // SAFETY: nothing of the mapping is borrowed any more. If it cannot be undone it just stays.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), length) };
    }
}
