//! Who among several instances does what only one may do at a time. A turn that is not taken again
//! in time is lost, so that an instance that dies holds nobody up.

use sqlx::AssertSqlSafe;

use super::{Result, Store, signed};

impl Store {
    /// Takes a turn for so many seconds by the database's time, or holds it for longer; false while
    /// another instance has it.
    pub async fn take_turn(&self, name: &str, instance: &str, lasts: u64) -> Result<bool> {
        let clock = self.clock();
        let _turn = self.turn().await;
        let taken = sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO turns (name, instance, until) VALUES ($1, $2, {clock} + $3) \
             ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, until = excluded.until \
             WHERE turns.instance = excluded.instance OR turns.until <= {clock}"
        )))
        .bind(name)
        .bind(instance)
        .bind(signed(lasts))
        .execute(&self.pool)
        .await?;
        Ok(taken.rows_affected() > 0)
    }

    /// Gives all turns of an instance to who wants them.
    pub async fn end_turns(&self, instance: &str) -> Result<()> {
        let _turn = self.turn().await;
        let end = sqlx::query("DELETE FROM turns WHERE instance = $1").bind(instance);
        end.execute(&self.pool).await?;
        Ok(())
    }
}
