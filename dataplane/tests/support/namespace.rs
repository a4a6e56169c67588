//! Network namespaces of their own for tests.

use std::{process::Command, thread};

/// Runs in a fresh network namespace, which ends with its thread.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let result = thread::spawn(|| {
        // SAFETY: only this thread leaves the namespace; no file descriptor table is unshared.
        #[allow(unsafe_code, reason = "a namespace for the test")]
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
            .expect("a network namespace takes root (CAP_SYS_ADMIN)");
        test();
    })
    .join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("`ip` of Debian's iproute2 is needed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
