//! Enrolment: this host becomes a node of a network.

use anyhow::Context as _;
use proto::control::{AuthKey, Base64Signature, EnrolRequest, VERSIONS};

use super::session::client;
use super::state::{Identity, State};
use super::store::Store;

/// Enrols by a key; says as whom, and where.
pub(super) async fn enrol(
    store: &Store,
    state: &mut State,
    auth_key: AuthKey,
) -> anyhow::Result<String> {
    let identity = match state.identity.take() {
        Some(identity) => identity,
        None => Identity::generate()?,
    };
    // Kept first: if the answer is lost, the same node comes again.
    state.identity = Some(identity.clone());
    store.keep_state(state)?;
    let mut request = EnrolRequest {
        versions: VERSIONS.to_vec(),
        auth_key,
        node_key: identity.node_key.signing_key()?.verifying_key(),
        wireguard_key: identity.key.public_key(),
        hostname: state.settings.hostname.clone(),
        os: "linux".to_owned(),
        agent: concat!("nearwire ", env!("CARGO_PKG_VERSION")).to_owned(),
        routes: state.settings.offers(),
        proof: Base64Signature([0; 64]),
    };
    request.sign(&identity.node_key.signing_key()?);
    let response = client(&state.settings)?.enrol(&request).await.context("not enrolled")?;
    state.identity = Some(Identity { node: Some(response.node), next_key: None, ..identity });
    store.keep_state(state)?;
    Ok(format!("{} in {}", response.name, response.network.name))
}
