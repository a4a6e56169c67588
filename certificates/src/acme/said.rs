//! What an operator says of ACME, and what it comes to.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use super::Acme;

/// The certificate authority that is asked if none is named.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The keys of a configuration, as they were said.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// `acme-names`
    pub names: Option<Vec<String>>,
    /// `acme-contact`
    pub contact: Option<String>,
    /// `acme-directory`
    pub directory: Option<String>,
    /// `acme-root`
    pub root: Option<PathBuf>,
    /// `acme-eab-id`
    pub eab_id: Option<String>,
    /// `acme-eab-key`
    pub eab_key: Option<PathBuf>,
}

impl Said {
    /// Whom to ask, if anybody; or what is wrong. `name` gives a key as an error names it, and
    /// `shown_at` is the key that says where proofs are shown.
    pub fn check(
        self,
        shown_at: &'static str,
        name: &dyn Fn(&'static str) -> String,
    ) -> Result<Option<Acme>> {
        let Some(names) = &self.names else {
            if let Some(key) = self.first_other() {
                bail!("{} is set but `acme-names` is not: say for which names", name(key));
            }
            return Ok(None);
        };
        ensure!(!names.is_empty(), "{} has no name: say one", name("acme-names"));
        for wanted in names {
            ensure!(
                is_host_name(wanted),
                "{} has {wanted:?}: TLS-ALPN-01 proves host names only, no addresses and no `*`",
                name("acme-names")
            );
        }
        let directory = self.directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned());
        ensure!(
            directory.starts_with("https://"),
            "{} is {directory:?}: ACME is spoken over https:// only",
            name("acme-directory")
        );
        let contact = self.contact.map(|address| {
            ensure!(
                address.contains('@') && !address.contains(':'),
                "{} is {address:?}: say a mail address, like admin@example.com",
                name("acme-contact")
            );
            Ok(format!("mailto:{address}"))
        });
        let external = match (self.eab_id, self.eab_key) {
            (Some(id), Some(key)) => Some((id, key)),
            (None, None) => None,
            (Some(_), None) => {
                bail!("{} is set but `acme-eab-key` is not: both or none", name("acme-eab-id"))
            }
            (None, Some(_)) => {
                bail!("{} is set but `acme-eab-id` is not: both or none", name("acme-eab-key"))
            }
        };
        Ok(Some(Acme {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            contact: contact.transpose()?,
            directory,
            root: self.root,
            external,
            shown_at,
        }))
    }

    /// ACME's other keys mean nothing without names.
    fn first_other(&self) -> Option<&'static str> {
        let others = [
            ("acme-contact", self.contact.is_some()),
            ("acme-directory", self.directory.is_some()),
            ("acme-root", self.root.is_some()),
            ("acme-eab-id", self.eab_id.is_some()),
            ("acme-eab-key", self.eab_key.is_some()),
        ];
        others.into_iter().find_map(|(key, set)| set.then_some(key))
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label)
        && name.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Said {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Said { names: Some(names), ..Said::default() }
    }

    fn check(said: Said) -> Result<Option<Acme>, String> {
        said.check("listen", &|key| format!("`{key}`")).map_err(|error| error.to_string())
    }

    #[test]
    fn names_alone_ask_lets_encrypt() {
        let acme = check(named(&["Control.Example.com"])).unwrap().unwrap();
        assert_eq!(acme.names, ["control.example.com"]);
        assert_eq!((acme.directory.as_str(), acme.contact), (LETS_ENCRYPT, None));
        assert!(check(Said::default()).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_mend() {
        let good = named(&["a.example.com"]);
        let text = |text: &str| Some(text.to_owned());
        let wrong = [
            (named(&[]), "`acme-names` has no name"),
            (named(&["*.example.com"]), "no `*`"),
            (named(&["192.0.2.1"]), "no addresses"),
            (named(&["host"]), "host names only"),
            (named(&["a..example.com"]), "host names only"),
            (Said { names: None, contact: text("a@b"), ..good.clone() }, "`acme-names` is not"),
            (Said { contact: text("mailto:a@b"), ..good.clone() }, "admin@example.com"),
            (Said { directory: text("http://ca"), ..good.clone() }, "over https:// only"),
            (Said { eab_id: text("kid"), ..good.clone() }, "`acme-eab-key` is not"),
            (Said { eab_key: Some("key".into()), ..good }, "`acme-eab-id` is not"),
        ];
        for (said, expected) in wrong {
            let error = check(said).unwrap_err();
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
    }
}
