//! Two engines that are each other's peer, for targets that want a live session.

use std::cell::RefCell;

use engine::pair::{Node, connected};

/// Lets `run` have two ends with a session between them: the same from input to input, because
/// a handshake costs a hundred times what an input does.
pub fn with_pair(run: impl FnOnce(&mut Node, &mut Node)) {
    thread_local!(static PAIR: RefCell<(Node, Node)> = RefCell::new(connected()));
    PAIR.with_borrow_mut(|(a, b)| {
        run(a, b);
        for out in [&mut a.out, &mut b.out] {
            out.packets.clear();
            out.transmits.clear();
        }
    });
}
