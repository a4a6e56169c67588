//! TLS for a bench: a certificate that nobody knows, and clients that take any.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustls::ClientConfig;

pub(crate) fn write(directory: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["relay.test".to_owned()])?;
    let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
    for (name, text) in files {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// TLS 1.3 with whoever holds the relay's address.
pub(crate) fn client(alpn: &[u8]) -> Result<ClientConfig> {
    let mut config = tls_trust::anybody()?;
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    Ok(config)
}
