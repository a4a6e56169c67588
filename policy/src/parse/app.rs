//! `app` of a grant: capabilities. There is one, to relay.

use jsonc_parser::ast::ObjectProp;

use crate::{Action, Autogroup, reader::Reader};

/// What the capability is called here, and where policies like ours come from.
const RELAY: [&str; 2] = ["nearwire/relay", "tailscale.com/cap/relay"];
/// Sets of parameters in one list; none has any.
const MOST: usize = 16;

/// Whether the grant has nodes relay.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    app: &ObjectProp<'a>,
    action: Option<Action>,
) -> bool {
    let capabilities = reader.named(app);
    let at = app.range.start;
    if capabilities.is_empty() && app.value.as_object().is_some() {
        reader.refuse(at, "\"app\" is empty: it would grant nothing");
    }
    if action == Some(Action::Deny) {
        reader.refuse(at, "a capability is granted or not: to take it away, remove the grant");
    }
    let mut relays = false;
    for capability in capabilities {
        let name = capability.name.as_str();
        if !RELAY.contains(&name) {
            let known = RELAY[0];
            let reason = format!("the capability {name:?} is not supported: there is {known:?}");
            reader.refuse(capability.range.start, reason);
            continue;
        }
        relays = true;
        for parameters in reader.objects(capability, "parameters of the capability", MOST) {
            let [] = reader.fields(parameters, [], &[]);
        }
    }
    relays
}

/// Why this is no relay.
pub(super) const fn no_relay(group: Autogroup) -> &'static str {
    match group {
        Autogroup::Own => {
            "who relays is named by itself: autogroup:self is another for each source"
        }
        _ => "what is outside the network relays nothing: name nodes of it",
    }
}
