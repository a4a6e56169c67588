//! What ACME needs to be kept, and who among several instances orders.

use std::future::{Future, pending, ready};

use anyhow::{Error, Result};
use instant_acme::AccountCredentials;

use super::Proof;
use crate::Certificate;

/// Keeps an account, a certificate, and proofs while an authority looks. Of stores that several
/// instances share, one has the turn to order at a time.
pub trait Store: Send + Sync {
    /// The account at the directory, if there is one.
    fn account(&self) -> impl Future<Output = Result<Option<AccountCredentials>>> + Send;

    /// Keeps an account, for our eyes only.
    fn keep_account(&self, account: &AccountCredentials)
    -> impl Future<Output = Result<()>> + Send;

    /// The authority does not know the account any more.
    fn forget_account(&self) -> impl Future<Output = Result<()>> + Send;

    /// The certificate, good or not.
    fn certificate(&self) -> impl Future<Output = Result<Option<Certificate>>> + Send;

    /// Keeps key and chain (PEM), which always belong together.
    fn keep_certificate(&self, key_and_chain: &[u8]) -> impl Future<Output = Result<()>> + Send;

    /// From here on, every handshake of an authority for this name is shown the proof; or nothing.
    fn show(&self, name: &str, proof: Option<&Proof>) -> impl Future<Output = Result<()>> + Send;

    /// Takes the turn to order; false while another has it.
    fn take_turn(&self) -> impl Future<Output = Result<bool>> + Send {
        ready(Ok(true))
    }

    /// Holds the turn; ends only when it is lost, and says why.
    fn hold_turn(&self) -> impl Future<Output = Error> + Send {
        pending()
    }

    /// Gives the turn to who wants it.
    fn end_turn(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Ends when another instance may have stored a certificate.
    fn changed(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}
