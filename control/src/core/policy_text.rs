//! From the text that an operator writes to a document that may be put in force: it has no errors,
//! and its own tests hold.

use policy::{
    CompileError, Diagnostics, Document, Failure, MAX_DIAGNOSTICS, Nodes, Plan, render_each,
    try_tests,
};

/// What is in force before anybody has written anything: nobody may do anything.
pub const EMPTY: &str = "{\n  // Nothing is allowed until a rule says so.\n  \"acls\": []\n}\n";

/// Why a text is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// It is wrong in these places.
    #[error("the policy has {} errors", .0.total())]
    Wrong(Diagnostics),
    /// These of its own tests do not hold.
    #[error("{} of the policy's own tests fail", .0.len())]
    Tests(Vec<String>),
    /// It is too much for the kernel's tables.
    #[error("the policy cannot be compiled: {0}")]
    TooLarge(String),
}

impl PolicyRefusal {
    /// Each thing that is wrong, for a person to read.
    #[must_use]
    pub fn details(&self, text: &str) -> Vec<String> {
        match self {
            Self::Wrong(errors) => render_each("policy", text, errors),
            Self::Tests(failures) => {
                let more = failures.len().saturating_sub(MAX_DIAGNOSTICS);
                let more = (more > 0).then(|| format!("and {more} more"));
                failures.iter().take(MAX_DIAGNOSTICS).cloned().chain(more).collect()
            }
            Self::TooLarge(reason) => vec![reason.clone()],
        }
    }
}

/// The document of a text, tried on the nodes of its network: each has to be able to enforce its share.
pub fn accept(text: &str, nodes: &Nodes) -> Result<Document, PolicyRefusal> {
    let document = Document::parse(text).map_err(PolicyRefusal::Wrong)?;
    let outcomes =
        try_tests(&document, nodes).map_err(|error| PolicyRefusal::TooLarge(error.to_string()))?;
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            let reason = match outcome.failure.as_ref()? {
                Failure::NoFlow(reason) => reason.clone(),
                Failure::Decided { rule: Some(rule), .. } => {
                    let line = document.rules().get(rule.0 as usize).map_or(0, |rule| rule.line);
                    format!("the rule on line {line} decides otherwise")
                }
                Failure::Decided { rule: None, .. } => "no rule accepts it".to_owned(),
            };
            let expected = &outcome.expectation;
            Some(format!(
                "{} to {} port {} should be {}: {reason}",
                outcome.source,
                expected.destination,
                expected.port,
                if expected.action == policy::Action::Accept { "accepted" } else { "denied" },
            ))
        })
        .collect();
    if !failures.is_empty() {
        return Err(PolicyRefusal::Tests(failures));
    }
    let plan = Plan::new(document, nodes);
    match plan.unfit() {
        None => Ok(plan.document().clone()),
        Some(unfit) => {
            let line = match unfit.error {
                CompileError::TooManyEntries { widest, .. } => {
                    plan.document().rules().get(widest.0 as usize).map(|rule| rule.line)
                }
                CompileError::TooManyMemberships { .. } | CompileError::TooManySets => None,
            };
            let rule =
                line.map(|line| format!("; that rule is on line {line}")).unwrap_or_default();
            Err(PolicyRefusal::TooLarge(format!("{unfit}{rule}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_failed_tests_are_told() {
        let nodes = Nodes::default();
        assert!(accept(EMPTY, &nodes).is_ok());
        let wrong = accept("{ \"acls\": [{ \"action\": \"maybe\" }] }", &nodes).unwrap_err();
        assert!(wrong.details("{}")[0].contains("policy:1:"), "{wrong:?}");
        let text = r#"{ "acls": [],
            "tests": [{ "src": "a@x", "accept": ["b@x:22"] }] }"#;
        let failed = accept(text, &nodes).unwrap_err();
        let said = &failed.details(text)[0];
        assert!(said.contains("port 22 should be accepted: no rule accepts it"), "{said}");
    }

    #[test]
    fn however_much_is_wrong_little_is_told() {
        let bad = r#"{ "action": "accept", "src": ["?"], "dst": ["*:*"] }"#;
        let text = format!("{{ \"acls\": [{}] }}", vec![bad; 5_000].join(","));
        let wrong = accept(&text, &Nodes::default()).unwrap_err();
        assert_eq!(wrong.to_string(), "the policy has 5000 errors");
        let details = wrong.details(&text);
        assert_eq!((details.len(), details[100].as_str()), (101, "and 4900 more errors\n"));
        assert!(details.concat().len() < 40_000);

        let failing = r#"{ "src": "a@x", "accept": ["b@x:22"] }"#;
        let text = format!("{{ \"acls\": [], \"tests\": [{}] }}", vec![failing; 300].join(","));
        let failed = accept(&text, &Nodes::default()).unwrap_err().details(&text);
        assert_eq!((failed.len(), failed[100].as_str()), (101, "and 200 more"));
    }

    /// Together they are too much for one who would enforce everything, which nobody does.
    #[test]
    fn many_hosts_beside_a_rule_for_all_are_accepted() {
        let icmp = r#"{ "action": "accept", "src": ["*"], "dst": ["*:*"], "proto": "icmp" }"#;
        let host = |host: u32| {
            let [.., high, low] = host.to_be_bytes();
            let host = format!("10.0.{high}.{low}");
            format!(r#"{{ "action": "accept", "src": ["{host}"], "dst": ["{host}:22"] }}"#)
        };
        let rules: Vec<String> = (0..1_100).map(host).chain([icmp.to_owned()]).collect();
        let text = format!("{{ \"acls\": [{}] }}", rules.join(",\n"));
        let accepted = accept(&text, &Nodes::default()).unwrap();
        assert_eq!(accepted.rules().len(), 1_101);
        assert!(policy::compile(&accepted).is_err());
    }
}
