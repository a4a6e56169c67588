//! Who asks, by address.

use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::App;
use crate::problem::Problem;

/// The other end of the connection, which the server puts beside each request.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it is a proxy of ours, which says for whom it asks.
    pub is_proxy: bool,
}

/// Who asks: the other end or, if that is our proxy, whom it names.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// Who asks and has shown no right: what they may ask is counted, by where they are.
#[derive(Clone, Copy, Debug)]
pub struct Stranger(pub IpAddr);

impl FromRequestParts<App> for Stranger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let PeerAddress(source) = PeerAddress::from_request_parts(parts, app).await?;
        app.admit_stranger(source)?;
        Ok(Self(source))
    }
}

/// A stranger who shows what could be guessed: one who has failed too often is not heard.
#[derive(Clone, Copy, Debug)]
pub struct Guesser(pub IpAddr);

impl FromRequestParts<App> for Guesser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let PeerAddress(source) = PeerAddress::from_request_parts(parts, app).await?;
        app.admit(source)?;
        app.admit_stranger(source)?;
        Ok(Self(source))
    }
}

impl<S: Sync> FromRequestParts<S> for PeerAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let connection = parts.extensions.get::<Connection>().copied();
        let connection =
            connection.ok_or_else(|| Problem::unavailable("the connection has no address"))?;
        if !connection.is_proxy {
            return Ok(Self(connection.address.ip()));
        }
        // The last entry is the proxy's own word; those before it are anybody's.
        let named = parts.headers.get_all("x-forwarded-for").iter().next_back();
        let last =
            named.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        Ok(Self(last.unwrap_or(connection.address.ip())))
    }
}
