//! The relays: those of a network, or those of all that have none of their own.

use proto::control::Region;
use proto::ticket::{NetworkId, UnixSeconds};

use super::{Page, Result, SERVER, Store, Subject, Write, json, written};
use crate::core::audit::Act;

const PUT: &str = "INSERT INTO regions (network, record) VALUES ($1, $2) \
                   ON CONFLICT (network) DO UPDATE SET record = excluded.record";

impl Store {
    /// The relays that a network's own list names; those of all if it names none.
    pub async fn regions(&self, network: NetworkId) -> Result<Vec<Region>> {
        let own = self.own_regions(Some(network)).await?;
        if own.is_empty() { self.own_regions(None).await } else { Ok(own) }
    }

    /// The relays of one list.
    pub async fn own_regions(&self, network: Option<NetworkId>) -> Result<Vec<Region>> {
        let row = sqlx::query("SELECT record FROM regions WHERE network = $1")
            .bind(network.map(|network| network.to_string()).unwrap_or_default())
            .fetch_optional(&self.pool)
            .await?;
        row.map_or_else(|| Ok(Vec::new()), |row| json(&row, 0, "the relays"))
    }

    /// Names the relays of the networks that have none of their own.
    pub async fn put_common_regions(
        &self,
        regions: &[Region],
        now: UnixSeconds,
        act: Act,
    ) -> Result<()> {
        {
            let _turn = self.turn().await;
            let mut tx = self.pool.begin().await?;
            super::audit::append(&mut tx, SERVER, now, act).await?;
            sqlx::query(PUT)
                .bind("")
                .bind(written(&regions, "the relays")?)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        let mut page = Page { after: String::new(), limit: super::MAX_PAGE };
        loop {
            let networks = self.networks(&page).await?;
            let Some(last) = networks.last() else { return Ok(()) };
            page.after = last.id.to_string();
            for network in &networks {
                let mut write = self.write(network.id, now).await?;
                write.changed(Subject::Regions);
                write.commit().await?;
            }
        }
    }
}

impl Write {
    /// Names the relays of this network.
    pub async fn put_regions(&mut self, regions: &[Region]) -> Result<()> {
        sqlx::query(PUT)
            .bind(self.network.id.to_string())
            .bind(written(&regions, "the relays")?)
            .execute(&mut *self.tx)
            .await?;
        self.changed(Subject::Regions);
        Ok(())
    }
}
