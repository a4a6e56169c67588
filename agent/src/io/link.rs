//! Word of changes to the tunnel interface: up, down, MTU, gone.

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;

/// The state of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It is there.
    Present {
        /// Whether it is up.
        up: bool,
        /// Its MTU, if the kernel said.
        mtu: Option<u16>,
    },
    /// It was deleted.
    Gone,
}

/// Follows an interface from its state of now on. Ends when the receiver is dropped.
pub(crate) async fn watch(name: &str) -> anyhow::Result<mpsc::Receiver<Link>> {
    let (connection, handle, mut messages) = new_multicast_connection(&[MulticastGroup::Link])
        .context("cannot listen to the kernel's link changes over netlink")?;
    tokio::spawn(connection);
    let link = handle
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_next()
        .await
        .with_context(|| format!("cannot look up interface {name}"))?
        .with_context(|| format!("interface {name} is gone"))?;
    let index = link.header.index;
    let (changes, receiver) = mpsc::channel(16);
    // The channel is empty: this cannot fail.
    let _ = changes.try_send(state(&link));
    tokio::spawn(async move {
        // The connection answers only while its handle lives.
        let _handle = handle;
        while let Some((message, _)) = messages.next().await {
            let link = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
                    if link.header.index == index =>
                {
                    state(&link)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                    if link.header.index == index =>
                {
                    Link::Gone
                }
                _ => continue,
            };
            if changes.send(link).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn state(link: &LinkMessage) -> Link {
    Link::Present { up: link.header.flags.contains(LinkFlags::Up), mtu: mtu_of(link) }
}

/// An interface's MTU, if the kernel said.
pub(super) fn mtu_of(link: &LinkMessage) -> Option<u16> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(u16::try_from(*mtu).unwrap_or(u16::MAX)),
        _ => None,
    })
}
