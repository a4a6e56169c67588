//! What an exit node sends out for others leaves under its own addresses, or no answer would find the
//! way back: by rules of nftables.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ipnet::IpNet;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long `nft` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Has packets from these networks, if they leave by another interface than this one, leave under the
/// host's addresses; but those to `plain` as they are, for there the way back is known.
pub(crate) async fn masquerade(
    interface: &str,
    from: &[IpNet],
    plain: &[IpNet],
) -> anyhow::Result<()> {
    nft(&rules(interface, from, plain))
        .await
        .context("packets of others leave this exit node under addresses that nobody can answer to")
}

/// Ends it, also what a daemon before has left.
pub(crate) async fn stop(interface: &str) {
    // Where there is no such table, or no nft, there is nothing to end.
    let _ = nft(&format!("delete table inet {}", table(interface))).await;
}

fn table(interface: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("nearwire_{}", interface.chars().map(word).collect::<String>())
}

fn rules(interface: &str, from: &[IpNet], plain: &[IpNet]) -> String {
    let table = table(interface);
    let family = |net: &IpNet| if net.addr().is_ipv4() { "ip" } else { "ip6" };
    let stays = plain.iter().map(|net| format!("{} daddr {} accept;", family(net), net.trunc()));
    let leaves = from.iter().map(|net| {
        format!("{} saddr {} oifname != \"{interface}\" masquerade;", family(net), net.trunc())
    });
    let chain: Vec<_> = stays.chain(leaves).collect();
    // Made if it is not there, so that it can be deleted, all in one step.
    format!(
        "table inet {table}; delete table inet {table}; table inet {table} {{ chain leave {{ \
         type nat hook postrouting priority srcnat; {} }}; }}",
        chain.join(" ")
    )
}

async fn nft(rules: &str) -> anyhow::Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let work = async {
        let mut child = command.spawn().context("nft cannot be started; is nftables installed?")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(rules.as_bytes()).await.context("nft does not read")?;
        }
        child.wait_with_output().await.context("nft has no end")
    };
    let output = tokio::time::timeout(LIMIT, work).await.context("nft does not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_behind_the_node_are_left_as_they_are() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let text = rules("wg-0", &[net("100.64.0.0/10"), net("fd00::/64")], &[net("10.1.0.0/16")]);
        let chain = "ip daddr 10.1.0.0/16 accept; \
             ip saddr 100.64.0.0/10 oifname != \"wg-0\" masquerade; \
             ip6 saddr fd00::/64 oifname != \"wg-0\" masquerade;";
        assert!(text.contains(chain), "{text}");
        assert!(text.starts_with("table inet nearwire_wg_0; delete table inet nearwire_wg_0; "));
    }
}
