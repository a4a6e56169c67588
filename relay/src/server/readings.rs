//! What a configuration names and does not hold: read by who serves, and by who only looks whether it
//! could be.

use anyhow::Result;
use control_client::Client;

use super::config::Config;
use super::tls::Identity;
use super::{control, mesh};

/// See the module.
pub(super) struct Readings {
    pub(super) identity: Identity,
    pub(super) mesh: Option<mesh::Known>,
    pub(super) control: Option<Client>,
}

impl Readings {
    /// Reads all of it, and changes nothing.
    pub(super) async fn of(config: &Config) -> Result<Self> {
        Ok(Self {
            identity: Identity::load(&config.identity).await?,
            mesh: config.mesh.as_ref().map(mesh::Known::read).transpose()?,
            control: config.control.as_ref().map(control::client).transpose()?,
        })
    }
}
