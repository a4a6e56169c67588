//! The same rules as each filter wants them told. What belongs to an established connection passes
//! first, as administrators have it; what does not come in from the tunnel passes next.

use std::fmt::Write as _;

use super::rules::{HERE, Rule, Rules};

/// A document for nearwire; `more` are further entries of `acls`, each with its comma.
pub(super) fn nearwire(rules: &Rules, more: &str) -> String {
    let mut text = String::from("{\"acls\":[\n");
    for Rule { source, protocol, port } in rules.iter() {
        let _ = writeln!(
            text,
            "{{\"action\":\"accept\",\"src\":[\"{source}\"],\"dst\":[\"{HERE}:{port}\"],\
             \"proto\":\"{protocol}\"}},"
        );
    }
    text.push_str(more);
    text.push_str("]}\n");
    text
}

/// For `nft -f`: one set of concatenations, looked up once.
pub(super) fn nft_set(rules: &Rules, interface: &str) -> String {
    let mut elements = String::new();
    for rule in rules.iter() {
        let _ = writeln!(elements, "{},", nft_element(rule));
    }
    let set = format!(
        "set allowed {{\n\
         type ipv4_addr . ipv4_addr . inet_proto . inet_service\n\
         elements = {{\n{elements}}}\n}}\n"
    );
    nft(interface, &set, "ip saddr . ip daddr . ip protocol . th dport @allowed accept\n")
}

/// For `nft -f`: one rule in the set less and another one more.
pub(super) fn nft_one_element(old: &Rule, new: &Rule) -> String {
    format!(
        "delete element ip bench allowed {{ {} }}\nadd element ip bench allowed {{ {} }}\n",
        nft_element(old),
        nft_element(new)
    )
}

fn nft_element(Rule { source, protocol, port }: &Rule) -> String {
    format!("{source} . {HERE} . {protocol} . {port}")
}

/// For `nft -f`: a rule for each rule.
pub(super) fn nft_plain(rules: &Rules, interface: &str) -> String {
    let mut lines = String::new();
    for Rule { source, protocol, port } in rules.iter() {
        let _ = writeln!(lines, "ip saddr {source} ip daddr {HERE} {protocol} dport {port} accept");
    }
    nft(interface, "", &lines)
}

/// A table in place of the one before it, in one transaction.
fn nft(interface: &str, set: &str, accepts: &str) -> String {
    format!(
        "table ip bench\ndelete table ip bench\n\
         table ip bench {{\n{set}chain input {{\n\
         type filter hook input priority filter; policy drop;\n\
         ct state established,related accept\n\
         iifname != \"{interface}\" accept\n\
         {accepts}}}\n}}\n"
    )
}

/// For `iptables-restore`: a rule for each rule.
pub(super) fn iptables(rules: &Rules, interface: &str) -> String {
    let mut lines = String::new();
    for Rule { source, protocol, port } in rules.iter() {
        let _ = writeln!(
            lines,
            "-A INPUT -s {source} -d {HERE} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
        );
    }
    iptables_table(interface, &lines)
}

/// For `iptables-restore`: one rule, which asks a set of `ipset`.
pub(super) fn iptables_with_set(interface: &str) -> String {
    iptables_table(interface, "-A INPUT -m set --match-set allowed src,dst,dst -j ACCEPT\n")
}

fn iptables_table(interface: &str, accepts: &str) -> String {
    format!(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
         -A INPUT ! -i {interface} -j ACCEPT\n\
         {accepts}COMMIT\n"
    )
}

/// For `ipset restore`: the set.
pub(super) fn ipset(rules: &Rules) -> String {
    let size = rules.len().next_power_of_two();
    let mut text = format!("create allowed hash:ip,port,ip hashsize {size} maxelem {size}\n");
    for Rule { source, protocol, port } in rules.iter() {
        let _ = writeln!(text, "add allowed {source},{protocol}:{port},{HERE}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rules::Protocol;
    use super::*;

    #[test]
    fn nearwire_reads_what_is_written_for_it() {
        let rules = Rules::new(1000, Protocol::Udp);
        let more =
            "{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\"*:*\"],\"proto\":\"icmp\"},\n";
        let text = nearwire(&rules, more);
        let document = policy::Document::parse(&text).unwrap();
        assert_eq!(document.rules().len(), 1001);
    }

    #[test]
    fn each_dialect_names_each_rule_once() {
        let rules = Rules::new(100, Protocol::Tcp);
        let texts = [
            nearwire(&rules, ""),
            nft_set(&rules, "nw0"),
            nft_plain(&rules, "nw0"),
            iptables(&rules, "nw0"),
            ipset(&rules),
        ];
        for text in texts {
            assert_eq!(text.matches("10.64.0.").count(), 100, "{text}");
        }
    }
}
