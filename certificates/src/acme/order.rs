//! One order of a certificate: account, proof of each name, certificate.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use zeroize::Zeroizing;

use super::{Acme, Proof, Store};
use crate::{Certificate, provider};

/// How long an authority may look at an order.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(std::time::Duration::from_secs(120));
const ACCOUNT_GONE: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Gets a certificate and keeps it. The proofs stay shown.
pub(super) async fn certificate(acme: &Acme, store: &impl Store) -> Result<Certificate> {
    let mut order = begin(acme, store).await?;
    prove(&mut order, store).await?;
    wait_until_ready(&mut order, acme.shown_at).await?;
    let key = rcgen::KeyPair::generate().context("making a private key")?;
    let mut wanted = rcgen::CertificateParams::new(acme.names.clone())
        .context("writing the names of `acme-names` into a request")?;
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    let request = wanted.serialize_request(&key).context("writing the request")?;
    order.finalize_csr(request.der()).await.context("sending the request")?;
    let chain = order.poll_certificate(&PATIENCE).await.context("waiting for the certificate")?;
    let private = Zeroizing::new(key.serialize_pem());
    let both = Zeroizing::new([private.as_bytes(), chain.as_bytes()].concat());
    let certificate = Certificate::from_pem(&both).context("reading what was given")?;
    store.keep_certificate(&both).await?;
    Ok(certificate)
}

/// An order of our account, or of a new one if the authority has forgotten ours.
async fn begin(acme: &Acme, store: &impl Store) -> Result<Order> {
    let names: Vec<_> = acme.names.iter().cloned().map(Identifier::Dns).collect();
    let wanted = NewOrder::new(&names);
    let gone = |error: &Error| matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(ACCOUNT_GONE));
    match account(acme, store).await?.new_order(&wanted).await {
        Err(error) if gone(&error) => {
            tracing::warn!("the certificate authority has forgotten our account: a new one");
            store.forget_account().await?;
            account(acme, store).await?.new_order(&wanted).await.context("making an order")
        }
        other => other.context("making an order"),
    }
}

async fn account(acme: &Acme, store: &impl Store) -> Result<Account> {
    let builder = builder(acme)?;
    if let Some(kept) = store.account().await? {
        return builder.from_credentials(kept).await.context("reaching the directory");
    }
    let external = external(acme)?;
    let contact: Vec<&str> = acme.contact.as_deref().into_iter().collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = builder
        .create(&wanted, acme.directory.clone(), external.as_ref())
        .await
        .context("making an account")?;
    store.keep_account(&credentials).await?;
    Ok(account)
}

/// Reads what an order would need.
pub(super) async fn prepare(acme: &Acme, store: &impl Store) -> Result<()> {
    builder(acme)?;
    if store.account().await?.is_none() {
        external(acme)?;
    }
    Ok(())
}

fn builder(acme: &Acme) -> Result<AccountBuilder> {
    // The client of instant-acme takes the process's; the first who says so wins, and all say ring.
    let _ = provider().install_default();
    match &acme.root {
        Some(root) => Account::builder_with_root(root).with_context(|| {
            format!("reading {} (`acme-root`): one certificate, as PEM", root.display())
        }),
        None => Account::builder().context("trusting the system's certificate authorities"),
    }
}

fn external(acme: &Acme) -> Result<Option<ExternalAccountKey>> {
    let Some((id, file)) = &acme.external else { return Ok(None) };
    let text = std::fs::read_to_string(file).map(Zeroizing::new).with_context(|| {
        format!("reading {} (`acme-eab-key`): is it there and ours?", file.display())
    })?;
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .with_context(|| format!("{} (`acme-eab-key`) is no base64url", file.display()))?;
    Ok(Some(ExternalAccountKey::new(id.clone(), &Zeroizing::new(key))))
}

/// Shows the proof of every name, then lets the authority look.
async fn prove(order: &mut Order, store: &impl Store) -> Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.context("reading what is to be proven")?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            other => bail!("the authority says {other:?} of {}", authorization.identifier()),
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .context("the authority offers no TLS-ALPN-01: choose another one")?;
        let name = challenge.identifier().to_string();
        let proof = Proof::new(&name, challenge.key_authorization().digest().as_ref())?;
        store.show(&name, Some(&proof)).await?;
        challenge.set_ready().await.with_context(|| format!("letting it look at {name}"))?;
    }
    Ok(())
}

async fn wait_until_ready(order: &mut Order, shown_at: &str) -> Result<()> {
    let status = order.poll_ready(&PATIENCE).await;
    if matches!(status, Ok(OrderStatus::Ready)) {
        return Ok(());
    }
    // Why is said with the proof that failed.
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let failed = state.challenges.iter().find_map(|tried| tried.error.as_ref());
        if let Some(problem) = failed.map(ToString::to_string) {
            bail!(
                "{} was not proven: {problem}; the authority must reach `{shown_at}` at port 443 of it",
                authorization.identifier()
            );
        }
    }
    bail!("the order is {:?}", status.context("waiting for the proof of the names")?)
}
