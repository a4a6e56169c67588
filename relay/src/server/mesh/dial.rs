//! Links that this relay asks for: to those with greater ids, again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::mesh::RelayId;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::greet::{NoLink, greet};
use super::region::Member;
use super::{Shared, link, tls};

/// How long one try may take.
const TRY: Duration = Duration::from_secs(2);
/// The first wait after a failure; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait: a relay that comes back is soon of the mesh again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Dials whom the region names, as long as it does.
pub(super) async fn serve(shared: Arc<Shared>) {
    let mut members = shared.members.clone();
    let mut tasks = JoinSet::new();
    let mut dialling: BTreeMap<RelayId, (Member, AbortHandle)> = BTreeMap::new();
    loop {
        let now = members.borrow_and_update().clone();
        dialling.retain(|id, (member, task)| {
            let stays = now.others.get(id) == Some(member);
            if !stays {
                task.abort();
            }
            stays
        });
        for (&id, &member) in
            now.others.iter().filter(|(id, _)| now.own.is_some_and(|own| own < **id))
        {
            dialling
                .entry(id)
                .or_insert_with(|| (member, tasks.spawn(keep_linked(shared.clone(), id, member))));
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_linked(shared: Arc<Shared>, relay: RelayId, member: Member) {
    let mut wait = FIRST_WAIT;
    loop {
        match timeout(TRY, dial(&shared, relay, member)).await {
            Ok(Ok(greeted)) => {
                wait = FIRST_WAIT;
                link::serve(&shared, greeted).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%relay, address = %member.mesh, "no link: {error}");
            }
            Err(_) => tracing::debug!(%relay, address = %member.mesh, "no link: no answer"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn dial(
    shared: &Shared,
    relay: RelayId,
    member: Member,
) -> Result<super::greet::Greeted, NoLink> {
    let connection = shared.endpoint.connect(member.mesh, tls::NAME)?.await?;
    greet(shared, connection, relay).await
}
